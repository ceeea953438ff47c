"""Writing a bundle over another one: whatever happens, one of the two is there, and whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gimp_plugin import keys
from gimp_plugin.errors import CheckpointError, ResourceError, StaleOutputError
from gimp_plugin.storage import bundles, runs
from gimp_plugin.storage.atomic import json_text
from gimp_plugin.storage.bundles import sealed, write_bundle
from gimp_plugin.storage.runs import read_run
from tests.test_slides_extraction import contents


def files_of(word):
    """Files of a bundle that cannot be used but can be told from another."""
    config = {"format": keys.BUNDLE_FORMAT, "format_version": 1, "word": word}
    names = (runs.CONFIG, runs.MODEL, runs.GENES, runs.LABELS, runs.METRICS, runs.CARD)
    texts = {name: f"{word} {name}".encode() for name in names}
    return sealed(texts | {runs.CONFIG: json_text(config).encode()}, {})


OLD, NEW = files_of("old"), files_of("new")


@pytest.fixture
def bundle(tmp_path):
    """A bundle with files of its user."""
    path = tmp_path / "b"
    write_bundle(path, OLD, overwrite=False)
    (path / "notes.txt").write_bytes(b"mine")
    (path / ".git").mkdir()
    (path / ".git" / "HEAD").write_bytes(b"mine, too")
    return path


def ours(path):
    return {name: (path / name).read_bytes() for name in OLD if (path / name).exists()}


def theirs(path):
    names = contents(path).keys() - OLD.keys()
    return {name: (path / name).read_bytes() for name in names if "gimp-export" not in name}


def killed_at(number, path, files):
    """Write in a process that is killed at its number-th change of a name; whether it was."""
    child = os.fork()
    if child == 0:
        left = number
        real = Path.replace

        def replace(self, target):
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(9)
            return real(self, target)

        Path.replace = replace
        write_bundle(path, files, overwrite=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_kill_at_any_moment_leaves_the_old_bundle_or_the_new_one(bundle):
    before, said = theirs(bundle), 0

    number = 0
    while killed_at(number := number + 1, bundle, NEW):
        assert theirs(bundle) == before
        if (bundle / runs.PROVENANCE).exists():
            assert ours(bundle) == OLD
        else:  # while names changed: readers say so, and the next call puts the old one back
            said += 1
            with pytest.raises(CheckpointError, match="unfinished: gimp export was stopped there"):
                read_run(bundle)
        assert write_bundle(bundle, OLD, overwrite=False) is False
        assert ours(bundle) == OLD
        assert not list(bundle.glob(".gimp-export"))

    assert ours(bundle) == NEW
    assert theirs(bundle) == before
    assert number > 2 * len(OLD)
    assert 0 < said < number - len(OLD)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_kill_of_a_first_export_leaves_what_the_next_one_may_replace(tmp_path):
    number = 0
    while killed_at(number := number + 1, tmp_path / f"b{number}", NEW):
        assert not (tmp_path / f"b{number}" / runs.PROVENANCE).exists()
        assert write_bundle(tmp_path / f"b{number}", OLD, overwrite=False)
        assert contents(tmp_path / f"b{number}").keys() == OLD.keys()

    assert number > len(OLD)


@pytest.mark.parametrize("name", [runs.GENES, runs.METRICS, runs.PROVENANCE])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "no"), KeyboardInterrupt()])
@pytest.mark.parametrize("part", ["whole_file", "replace"])
def test_an_error_at_any_file_leaves_the_old_bundle(bundle, monkeypatch, name, error, part):
    before = contents(bundle)
    seen, whole_file, replace = [], bundles.whole_file, Path.replace

    def fails_once(path, *given, real):
        if path.name == name and not seen:
            seen.append(path)
            raise error
        return real(path, *given)

    if part == "replace":
        monkeypatch.setattr(Path, "replace", lambda *given: fails_once(*given, real=replace))
    else:
        monkeypatch.setattr(bundles, "whole_file", lambda path: fails_once(path, real=whole_file))

    with pytest.raises((ResourceError, KeyboardInterrupt)) as caught:
        write_bundle(bundle, NEW, overwrite=True)

    assert seen
    assert contents(bundle) == before
    if isinstance(error, OSError):
        assert caught.value.problem == f"cannot write {str(bundle)!r}: no"


def test_a_folder_in_the_place_of_a_file_stays_and_is_named(bundle):
    (bundle / runs.CARD).unlink()
    (bundle / runs.CARD).mkdir()
    (bundle / runs.CARD / "draft.md").write_bytes(b"mine")
    before = contents(bundle)

    with pytest.raises(StaleOutputError, match=r"README\.md' is not a file") as caught:
        write_bundle(bundle, NEW, overwrite=True)

    assert caught.value.exit_code == 3
    assert contents(bundle) == before


def test_a_bundle_behind_a_link_is_written_where_the_link_leads(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)

    write_bundle(tmp_path / "link", NEW, overwrite=True)

    assert (tmp_path / "link").is_symlink()
    assert ours(bundle) == NEW
