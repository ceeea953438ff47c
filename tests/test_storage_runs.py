"""The run folder: claimed once, read only when it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gimp_plugin.config import GimpConfig
from gimp_plugin.errors import CheckpointError, MissingFileError, StaleOutputError
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import write_json, write_text


def identity(seed=0):
    return {
        "kind": "finetune",
        "config": GimpConfig().to_dict(),
        "seed": seed,
        "feature_dim": 5,
        "encoder": "untrained@0123",
        "scale": "log2p1",
        "inputs": {"bags": "aa", "labels": "bb"},
    }


@pytest.fixture
def sealed(tmp_path):
    """A finished run."""
    path = tmp_path / "run"
    assert runs.claim_run(path, identity(), overwrite=False)
    (path / runs.MODEL).write_bytes(b"weights")
    write_text(path / runs.GENES, "id,order,mean,std,group\ng1,0,1.5,2.0,0\n")
    write_json(path / runs.LABELS, ["a", "b"])
    write_text(path / runs.SPLITS, "case_id,fold,split\nc1,0,train\nc2,0,test\n")
    write_json(path / runs.CASES, {"train": ["c1"], "val": []})
    write_json(path / runs.METRICS, {"stages": {}})
    runs.seal_run(path, {"source": {"features": "features"}})
    return path


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_a_finished_run_says_what_it_is(sealed):
    record = runs.read_run(sealed)

    assert record.classes == ("a", "b")
    assert record.parts == {"c1": "train", "c2": "test"}
    assert record.trained_on == {"train": ["c1"], "val": []}
    assert record.config == GimpConfig()
    assert record.gene_rows[0]["mean"] == "1.5"
    assert record.source == {"features": "features"}


def test_a_finished_run_of_the_same_identity_leaves_nothing_to_do(sealed):
    before = content(sealed)

    assert not runs.claim_run(sealed, identity(), overwrite=False)
    assert content(sealed) == before


def test_another_identity_is_refused_with_the_difference_and_nothing_changes(sealed):
    before = content(sealed)

    with pytest.raises(StaleOutputError, match=r"seed: 0 -> 3") as caught:
        runs.claim_run(sealed, identity(seed=3), overwrite=False)

    assert caught.value.exit_code == 3
    assert str(sealed) in str(caught.value)
    assert content(sealed) == before


def test_overwrite_replaces_a_run_and_leaves_foreign_files(sealed):
    (sealed / "notes.txt").write_text("mine")

    assert runs.claim_run(sealed, identity(seed=3), overwrite=True)

    assert sorted(content(sealed)) == [runs.CONFIG, "notes.txt"]


@pytest.mark.parametrize("n_removed", range(len(runs.RESULTS) + 1))
def test_a_run_that_was_half_removed_is_replaced_by_the_same_command(
    sealed, monkeypatch, n_removed
):
    unlink, left = Path.unlink, iter(range(n_removed))
    n_files = len(content(sealed))

    def interrupted(path, **options):
        if path.exists() and next(left, None) is None:
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.remove_run(sealed)
    monkeypatch.undo()

    assert len(content(sealed)) == n_files - n_removed > 0
    assert runs.claim_run(sealed, identity(seed=3), overwrite=True)
    assert list(content(sealed)) == [runs.CONFIG]


def test_a_folder_with_foreign_files_is_refused_even_with_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")

    with pytest.raises(StaleOutputError, match=r"thesis\.tex"):
        runs.claim_run(tmp_path, identity(), overwrite=True)

    assert sorted(content(tmp_path)) == ["thesis.tex"]


@pytest.mark.parametrize("name", [runs.MODEL, runs.GENES, runs.SPLITS, runs.CASES])
def test_a_changed_file_is_noticed_and_named(sealed, name):
    (sealed / name).write_bytes((sealed / name).read_bytes()[:-1] + b"?")

    with pytest.raises(CheckpointError, match=name):
        runs.read_run(sealed)

    assert runs.claim_run(sealed, identity(), overwrite=False)


def test_an_unfinished_run_is_not_read_but_gone_on_with(tmp_path):
    assert runs.claim_run(tmp_path / "run", identity(), overwrite=False)
    write_json(tmp_path / "run" / runs.PROVENANCE, {"source": {}})

    with pytest.raises(CheckpointError, match="unfinished"):
        runs.read_run(tmp_path / "run")
    assert runs.claim_run(tmp_path / "run", identity(), overwrite=False)


def test_a_newer_format_is_refused_with_both_versions(sealed):
    stored = json.loads((sealed / runs.CONFIG).read_text())
    write_json(sealed / runs.CONFIG, stored | {"format_version": 7})

    with pytest.raises(CheckpointError, match=r"version 7, expected 1"):
        runs.read_run(sealed)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="nothing"):
        runs.read_run(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"not a run: it has no 'config\.json'"):
        runs.read_run(tmp_path)
    (tmp_path / runs.CONFIG).write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        runs.read_run(tmp_path)
