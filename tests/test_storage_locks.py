"""Locks whose files are removed by their holders."""

from __future__ import annotations

import pytest

from gimp_plugin.errors import LockedError
from gimp_plugin.storage import locks


@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_whose_file_was_removed_before_it_was_held_keeps_others_out(
    monkeypatch, tmp_path, wait
):
    path, really_locks = tmp_path / ".a.lock", locks._locks
    removed = []

    def locks_late(descriptor, how):
        if not removed:  # the holder ends, and removes the file, between our opening and locking
            removed.append(path.unlink())
        return really_locks(descriptor, how)

    monkeypatch.setattr(locks, "_locks", locks_late)

    with locks.held(path, wait=wait), pytest.raises(LockedError), locks.held(path):
        pass


def test_a_lock_is_free_again_after_a_refusal(tmp_path):
    path = tmp_path / ".a.lock"
    with locks.held(path), pytest.raises(LockedError), locks.held(path):
        pass

    with locks.held(path):
        assert path.exists()
