"""`gimp extract-features` where its output is in the way, full, locked or not its own."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner

from gimp_plugin.cli import options
from gimp_plugin.cli.main import cli
from gimp_plugin.storage.locks import held
from tests.slide_factory import make_slide
from tests.slide_readers import borrow, shared_readers
from tests.test_cli_extract_features import UNTRAINED, hashes, names

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

OPTIONS = (*UNTRAINED, "--patch-size", "96")


@pytest.fixture(autouse=True)
def slides(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    for seed, name in enumerate("abc"):
        make_slide(Path(f"slides/{name}.svs"), (500, 460), seed=seed)


def gimp(*arguments):
    return CliRunner().invoke(cli, ["extract-features", "slides", *OPTIONS, *map(str, arguments)])


def in_a_child(*arguments, before=lambda: None):
    """Run the command in a copy of this process; give its exit code and its output."""
    shared_readers()
    pid = os.fork()
    if pid == 0:
        before()
        result = gimp(*arguments)
        descriptor = os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, result.output.encode())
        os._exit(result.exit_code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), Path("told.txt").read_text()


def test_row_30_an_output_that_is_a_file_is_code_2():
    Path("out").write_text("mine")
    before = hashes(".")

    result = gimp("-o", "out")
    below = gimp("-o", "out/features")

    assert (result.exit_code, below.exit_code) == (2, 2)
    assert "'out' is a file, expected a folder" in result.output
    assert "out' is a file, expected a folder" in below.output
    assert hashes(".") == before


def test_row_30_an_output_that_links_to_itself_is_code_5():
    Path("out").symlink_to("out")
    before = hashes(".")

    for place in ("out", "out/features"):
        result = gimp("-o", place)

        assert result.exit_code == 5
        assert f"cannot reach '{place}': Too many levels of symbolic links" in result.output
    assert hashes(".") == before


def test_a_link_to_a_folder_that_does_not_exist_yet_is_followed():
    Path("out").symlink_to("new/and/deeper")

    result = gimp("-o", "out/features")

    assert result.exit_code == 0
    assert names("new/and/deeper/features") == ["a.h5", "b.h5", "c.h5"]


@pytest.mark.parametrize(
    ("given", "folder", "reached"),
    [
        ("link", True, "new"),
        ("link/and/out", True, "new/and/out"),
        ("link/and/out", False, "new/and/out"),
        ("link/out", False, "new/out"),
    ],
)
def test_links_to_what_does_not_exist_yet_lead_there(given, folder, reached):
    Path("link").symlink_to("new")

    place = options.check_output(Path(given), folder=folder)

    assert place == Path.cwd() / reached
    assert not Path("new").exists()


@pytest.mark.parametrize("given", ["out", "slides/out", "new/out", "there/out"])
def test_other_outputs_stay_as_they_were_given(given):
    Path("there").symlink_to("slides")

    assert options.check_output(Path(given), folder=True) == Path(given)
    assert options.check_output(Path(given), folder=False) == Path(given)


def test_a_pipe_or_a_device_is_no_output():
    os.mkfifo("pipe.json")

    for place in ("pipe.json", "/dev/null"):
        result = CliRunner().invoke(cli, ["evaluate", "-o", place, "--overwrite"])

        assert result.exit_code == 2
        assert f"'{place}' is not a regular file" in result.output


def test_row_30_missing_parents_are_made():
    result = gimp("-o", "new/and/deeper")

    assert result.exit_code == 0
    assert names("new/and/deeper") == ["a.h5", "b.h5", "c.h5"]


@pytest.mark.skipif(os.getuid() != 0, reason="must drop the rights of root to lack them")
def test_row_30_a_folder_that_may_not_be_written_is_code_5_before_any_work():
    Path("out").mkdir(mode=0o555)
    Path().chmod(0o777)  # for what the child tells
    before = hashes(".")

    code, told = in_a_child("-o", "out", before=lambda: os.setuid(65534))

    Path("told.txt").unlink()
    assert code == 5
    assert "cannot write in 'out'" in told
    assert "7 slides" not in told
    assert hashes(".") == before


def test_row_31_on_a_full_disk_earlier_bags_stay_whole_and_the_same_command_goes_on():
    gimp("-o", "whole")
    Path("features").mkdir()
    shutil.copy("whole/a.h5", "features/a.h5")
    before = hashes("features")
    room = min(path.stat().st_size for path in Path("whole").glob("*.h5")) - 1
    limit = (room, resource.RLIM_INFINITY)

    code, told = in_a_child(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    after = hashes("features")
    again = gimp()

    assert code == 5
    assert "no room for 'features/" in told
    assert "MB are left" in told
    assert after == before
    assert again.exit_code == 0
    assert hashes("features") == hashes("whole")


def test_row_36_the_file_of_a_lock_means_nothing_when_nobody_holds_it():
    gimp("-o", "whole")
    Path("features").mkdir()
    for name in (".0123456789abcdef.lock", ".failures.csv.lock"):
        Path("features", name).write_text(str(os.getpid()))

    result = gimp()

    assert result.exit_code == 0
    assert hashes("features") == hashes("whole")


HOLD = """
import sys
from pathlib import Path
from gimp_plugin.storage.locks import held

with held(Path(sys.argv[1])):
    input()
"""


def test_row_36_the_lock_of_a_killed_process_is_free():
    Path("features").mkdir()
    lock = Path("features/.0123456789abcdef.lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.01)

    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    with held(lock):
        assert gimp().exit_code == 0


def test_row_37_bags_of_another_encoder_are_never_mixed_in():
    gimp()
    before = hashes(".")

    refused = CliRunner().invoke(
        cli, ["extract-features", "slides", "--patch-encoder", "efficientnet-lite0"]
    )

    assert refused.exit_code == 3
    assert "features/a.h5' was made with another configuration" in refused.output
    assert "patch_encoder is 'untrained' there and 'efficientnet-lite0' here" in refused.output
    assert hashes(".") == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "unfinished"])
def test_row_38_a_damaged_bag_is_made_again_and_told(damage):
    gimp()
    before = hashes("features")
    path = Path("features/b.h5")
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "flipped":
        data = bytearray(path.read_bytes())
        data[:8] = b"\x89HDF\r\n\x1a\x00"
        path.write_bytes(bytes(data))
    else:
        with h5py.File(path, "r+") as file:
            del file.attrs["complete"]

    result = gimp()

    if damage == "flipped":  # it is no HDF5 file any more: whose it is nobody knows
        assert result.exit_code == 3
        assert "features/b.h5' is not ours to replace" in result.output
        return
    assert result.exit_code == 0
    assert "making it again" in result.output
    assert "1 slide done, 2 slides done before" in result.output
    assert hashes("features") == before


def test_what_is_not_ours_stays_in_the_folder():
    Path("features").mkdir()
    Path("features/notes.txt").write_text("mine")
    Path("features/sub").mkdir()
    Path("features/sub/a.h5").write_text("mine")
    shutil.copy("slides/a.svs", "features/a.svs")
    before = hashes("features")

    gimp()
    gimp("--overwrite", "--patch-size", "80")

    after = hashes("features")
    assert {name: after[name] for name in before} == before
