"""`gimp extract-features` while processes die, devices fill up and encoders fail."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import textwrap
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

import h5py
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.making import BagMaker
from gimp_plugin.slides.reading import KilledReaderError
from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.storage.bags import list_bags
from gimp_plugin.storage.locks import held_by_all
from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import make_slide
from tests.slide_readers import borrow, shared_readers
from tests.test_cli_extract_features import UNTRAINED, hashes, names

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

FEATURES = Path("features")
OPERATIONS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def slides(names_, size_px=(500, 460)):
    for seed, name in enumerate(names_):
        make_slide(Path(f"slides/{name}.svs"), size_px, seed=seed)


def gimp(*arguments, encoder=UNTRAINED):
    command = ["extract-features", "slides", *encoder, "--patch-size", "96", *map(str, arguments)]
    return CliRunner().invoke(cli, command)


def forked(*arguments, before=None):
    """Run the command in a copy of this process; give the copy's number."""
    shared_readers()
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            if before is not None:
                before()
            code = gimp(*arguments).exit_code
        os._exit(code)
    return pid


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def counted(output, number=0, count=None):
    """Count what this process does to its output; be killed before the operation of a number.

    Operations are those on files below the output, batches that a bag takes, and flushes of it.
    """
    done = itertools.count(1)
    append, flush = BagWriter.append, h5py.File.flush

    def operation():
        now = next(done)
        if count is not None:
            count.write_text(str(now))
        if now == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):
        if event in OPERATIONS and str(arguments[0]).startswith(output):
            operation()

    def appended(*arguments, **options):
        operation()
        return append(*arguments, **options)

    def flushed(file):
        operation()
        return flush(file)

    sys.addaudithook(hook)
    mock.patch.object(BagWriter, "append", appended).start()
    mock.patch.object(h5py.File, "flush", flushed).start()


def bags(folder):
    """Hashes of the bags that stand in a folder under their final names."""
    return {path.name: digest for path, digest in hashes(folder).items() if path.suffix == ".h5"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_row_32_killed_at_fifty_moments_the_same_command_ends_with_the_same_bytes(capsys):
    """What a killed run had finished is whole and is not made again; the rest is never seen.

    What a kill leaves behind depends on the operations before it alone, so these are counted
    instead of seconds: every kill falls between the first output and the end, on any machine.
    """
    slides("abc", (1300, 1100))
    assert code_of(forked("-o", "whole", before=partial(counted, "whole", count=Path("n")))) == 0
    expected, originals = bags("whole"), hashes("slides")
    last = int(Path("n").read_text())
    numbers, n_unfinished, n_half_written = random.Random(0), 0, 0

    for _ in range(50):
        number = numbers.randint(2, last - 5)  # one or two of them come or not
        code = code_of(forked(before=partial(counted, str(FEATURES), number=number)))

        assert code == -signal.SIGKILL
        found = bags(FEATURES)
        assert found.items() <= expected.items()
        n_unfinished += found != expected
        n_half_written += any(FEATURES.glob(".*.partial"))

        again = gimp()

        assert again.exit_code == 0
        assert f"{3 - len(found)} slide" in again.output or len(found) == 3
        assert bags(FEATURES) == expected
        assert names(FEATURES) == ["a.h5", "b.h5", "c.h5"]
        shutil.rmtree(FEATURES)

    assert hashes("slides") == originals
    with capsys.disabled():
        sys.stdout.write(
            f"\nkilled 50 times at one of {last} operations: {n_unfinished} left an unfinished "
            f"output, {n_half_written} a half-written bag\n"
        )
    assert n_unfinished >= 35
    assert n_half_written >= 15


def test_row_35_four_commands_on_one_folder_share_the_slides():
    slides("abcdefg")
    Path("slides/bad.svs").write_text("no slide")
    gimp("-o", "alone")

    codes = [code_of(pid) for pid in [forked() for _ in range(4)]]

    assert codes == [4, 4, 4, 4]
    assert bags(FEATURES) == bags("alone")
    assert names(FEATURES) == sorted(["failures.csv", *(f"{name}.h5" for name in "abcdefg")])
    log = (FEATURES / "status.jsonl").read_text()
    assert log.count('"done"') == 7


def own_encoder(folder, forward):
    """A module with an encoder of three numbers a patch; its name for the command line."""
    name = f"rough_{abs(hash(str(folder))) % 10**9}"
    (folder / f"{name}.py").write_text(
        textwrap.dedent(f"""
        import torch

        class Network(torch.nn.Module):
            dim = 3

            def forward(self, patches):
                features = patches.float().mean(dim=(1, 2))
                {forward}
                return features
        """)
    )
    return ("--patch-encoder", f"{name}:Network")


def test_row_39_features_that_are_not_finite_fail_the_slide_with_the_place(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    encoder = own_encoder(tmp_path, "features[features[:, 0] > 205] = float('nan')")
    for name, width in {"a": 384, "b": 288, "pale": 240}.items():  # half glass in its third column
        make_slide(Path(f"slides/{name}.svs"), (500, 460), tissue=[(0, 0, width, 384)])
    before = hashes("slides")

    result = gimp("--min-tissue", 0.4, encoder=encoder)

    (row,) = read_csv(FEATURES / "failures.csv")
    assert result.exit_code == 4
    assert (row["item"], row["stage"]) == ("pale", "encode")
    assert "slides/pale.svs': the features of the patch at (192, 0) do not" in row["message"]
    assert "--precision fp32" in row["message"]
    assert names(FEATURES) == ["a.h5", "b.h5", "failures.csv"]
    assert hashes("slides") == before


def test_row_42_a_batch_that_does_not_fit_is_halved_and_the_bags_are_the_same(monkeypatch, caplog):
    slides("ab")
    gimp("-o", "roomy")
    encode = Encoding._encode

    def tight(self, patches):
        if len(patches) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, patches)

    monkeypatch.setattr(Encoding, "_encode", tight)

    result = gimp()

    assert result.exit_code == 0
    assert "patches do not fit into the memory of cpu: halving the batch" in caplog.text
    assert bags(FEATURES) == bags("roomy")


def test_row_42_a_device_that_takes_no_patch_is_code_5(monkeypatch):
    slides("ab")

    def full(_self, _patches):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Encoding, "_encode", full)

    result = gimp()

    assert result.exit_code == 5
    assert "one patch does not fit into the memory of cpu" in result.stderr
    assert names(FEATURES) == []


@pytest.mark.parametrize(("always", "code"), [(False, 0), (True, 4)])
def test_row_43_a_reader_that_is_killed_is_tried_again_once(monkeypatch, caplog, always, code):
    slides("ab")
    finish, tried = BagMaker.finish, []

    def killed(self, started):
        if started.slide.slide_id == "a":
            tried.append(started.n_readers)
            if always or len(tried) == 1:
                with started.resources:
                    raise KilledReaderError("a reader was killed", hint="lower --num-workers")
        return finish(self, started)

    monkeypatch.setattr(BagMaker, "finish", killed)

    result = gimp("--num-workers", 3)

    assert result.exit_code == code
    assert tried == [3, 1]
    assert "trying again with one reader" in caplog.text
    assert [bag.slide_id for bag in list_bags(FEATURES)] == (["b"] if always else ["a", "b"])
    if always:
        assert "--num-workers" in read_csv(FEATURES / "failures.csv")[0]["message"]


def test_a_bag_whose_bytes_have_changed_is_made_again_where_it_may_be_overwritten(caplog):
    slides("ab")
    gimp()
    whole = bags(FEATURES)
    with h5py.File(FEATURES / "a.h5") as file:
        place = file["features"].id.get_chunk_info(0).byte_offset
    with (FEATURES / "a.h5").open("r+b") as file:
        file.seek(place)
        file.write(b"\xff\xff")

    kept, again = gimp(), gimp("--overwrite")

    assert "nothing to do" in kept.output
    assert "1 slide done, 1 slide done before" in again.output
    assert "a.h5': 'features' is damaged" in caplog.text
    assert bags(FEATURES) == whole


def test_a_command_of_another_configuration_waits_its_turn():
    slides("ab")
    with held_by_all(FEATURES / ".configuration.lock", "another configuration"):
        result = gimp()

    assert result.exit_code == 6
    assert "another process is writing to 'features', for another purpose" in result.stderr
    assert names(FEATURES) == []
    assert gimp().exit_code == 0
    assert names(FEATURES) == ["a.h5", "b.h5"]


@pytest.mark.slow
def test_two_configurations_at_once_never_mix():
    slides("abcd")
    shared_readers()

    pids = [forked("--stride", stride) for stride in (96, 80, 96, 80)]
    codes = {code_of(pid) for pid in pids}

    assert codes <= {0, 3, 6}
    assert 0 in codes
    made = {bag.attributes["extraction_sha256"] for bag in list_bags(FEATURES)}
    assert len(made) == 1
    assert len(list_bags(FEATURES)) == 4


def test_a_name_that_is_no_utf8_fails_its_slide_alone():
    slides("ab")
    os.rename(b"slides/a.svs", b"slides/bad\xff\xfe.svs")  # noqa: PTH104  # no Path holds it

    result = gimp()

    (row,) = read_csv(FEATURES / "failures.csv")
    assert result.exit_code == 4
    assert "is not a UTF-8 name (rename it)" in row["message"]
    assert [bag.slide_id for bag in list_bags(FEATURES)] == ["b"]
    assert gimp("--dry-run").exit_code == 4


def test_the_same_slides_by_other_spellings_and_links_are_taken_once(tmp_path):
    slides("ab")
    Path("link").symlink_to("slides")
    command = ["extract-features", *UNTRAINED, "--patch-size", "96"]
    spelt = ["slides", "slides/../slides", f"../{tmp_path.name}/slides", "link", "./slides/a.svs"]

    result = CliRunner().invoke(cli, [*command, *spelt])

    assert "2 slides done" in result.output
    assert [bag.slide_id for bag in list_bags(FEATURES)] == ["a", "b"]


def test_pictures_that_cannot_be_written_or_drawn_are_told():
    slides("ab")
    gimp()
    (FEATURES / "thumbnails").write_text("in the way")

    blocked = gimp("--thumbnails")
    (FEATURES / "thumbnails").unlink()
    late = gimp("--thumbnails", "--slide-timeout", 1e-6)

    assert blocked.exit_code == 2
    assert "'features/thumbnails' is a file, expected a folder of pictures" in blocked.stderr
    assert late.exit_code == 4
    assert "'slides/a.svs' was not read within 1e-06 s" in late.stderr
    assert names(FEATURES / "thumbnails") == ["index.html"]
    assert gimp("--thumbnails").exit_code == 0
    assert names(FEATURES / "thumbnails") == ["a.jpg", "b.jpg", "index.html"]
