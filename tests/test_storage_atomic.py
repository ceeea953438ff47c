"""A file is written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from gimp_plugin.errors import LockedError
from gimp_plugin.storage.atomic import ABANDONED_S, _here, clean_partials, whole_file, write_json
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.tables import Failure, read_csv, write_csv, write_failures


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def failing():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1, "y": [2]})
    write_json(tmp_path / "b.json", {"y": [2], "x": 1})

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_partial_files_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    gone = tmp_path / f".a.h5.{_here()}-{int(dead.stdout)}.partial"
    mine = tmp_path / f".b.h5.{_here()}-{os.getpid()}.partial"
    theirs = tmp_path / f".d.h5.0123abcd-{int(dead.stdout)}.partial"
    old = tmp_path / ".e.h5.0123abcd-1.partial"
    for path in (gone, mine, theirs, old, tmp_path / "c.partial"):
        path.touch()
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(old, (long_ago, long_ago))

    clean_partials(tmp_path)

    kept = [mine.name, theirs.name, "c.partial"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_all_that_was_left_of_a_locked_file_goes(tmp_path):
    others = [".a.h5x.0123abcd-1.partial", ".b.h5.0123abcd-1.partial"]
    for name in (".a.h5.0123abcd-1.partial", ".a.h5.4567abcd-2.partial", *others):
        (tmp_path / name).touch()

    clean_partials(tmp_path, "a.h5")

    assert sorted(path.name for path in tmp_path.iterdir()) == others


def test_a_lock_is_refused_while_it_is_held_and_free_after(tmp_path):
    path = tmp_path / ".lock"

    with held(path), pytest.raises(LockedError) as caught, held(path):
        pass

    assert caught.value.exit_code == 6
    with held(path):
        pass


def test_cells_that_a_spreadsheet_would_run_are_defused_and_read_back(tmp_path):
    cells = ["=HYPERLINK()", "+x", "-x", "@x", "-1.5", "a,b\nc", "'plain", "", "ü"]

    write_csv(tmp_path / "t.csv", [{"cell": cell} for cell in cells], columns=["cell"])

    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert "\n'=HYPERLINK()\n'+x\n'-x\n'@x\n-1.5\n" in text
    assert [row["cell"] for row in read_csv(tmp_path / "t.csv")] == cells


def test_the_list_of_failures_goes_when_nothing_failed(tmp_path):
    write_failures(tmp_path, [Failure("s1", "read", "SlideError", "empty file")])
    assert read_csv(tmp_path / "failures.csv")[0]["item"] == "s1"

    write_failures(tmp_path, [])
    assert not (tmp_path / "failures.csv").exists()
