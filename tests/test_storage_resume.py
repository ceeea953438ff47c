"""Checkpoints: whole or passed over, the last two kept."""

from __future__ import annotations

import torch

from gimp_plugin.storage.resume import STATE, TENSORS, latest_checkpoint, save_checkpoint


def save(folder, number):
    save_checkpoint(folder, {"w": torch.full((3,), float(number))}, {"epoch": number})


def test_the_newest_checkpoint_comes_back_exactly(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)

    found = latest_checkpoint(tmp_path)

    assert found.state["epoch"] == 2
    assert torch.equal(found.tensors["w"], torch.full((3,), 2.0))


def test_two_checkpoints_are_kept(tmp_path):
    for number in range(5):
        save(tmp_path, number)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000004", "00000005"]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = tmp_path / "00000002" / TENSORS
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")

    assert latest_checkpoint(tmp_path).state["epoch"] == 1


def test_a_checkpoint_without_its_state_is_passed_over(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "00000001" / STATE).unlink()

    assert latest_checkpoint(tmp_path) is None


def test_what_a_killed_save_left_is_in_nobodys_way(tmp_path):
    (tmp_path / ".00000001.partial").mkdir()
    (tmp_path / ".00000001.partial" / TENSORS).write_bytes(b"half")

    assert latest_checkpoint(tmp_path) is None
    save(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def test_there_is_no_checkpoint_in_a_folder_that_is_missing(tmp_path):
    assert latest_checkpoint(tmp_path / "resume") is None
