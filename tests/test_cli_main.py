"""The command line as a whole: start-up, names, exit codes, and what goes to which stream."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

import gimp_plugin
from gimp_plugin import errors
from gimp_plugin.cli import outcome
from gimp_plugin.cli.commands import COMMANDS, every, load
from gimp_plugin.cli.main import cli

GIMP = [sys.executable, "-m", "gimp_plugin"]
FAILING = """
import sys, time
import gimp_plugin.plugins
from gimp_plugin.cli.main import run

def registry():
    {body}

gimp_plugin.plugins.registry = registry
sys.argv = ["gimp", "plugins"]
run()
"""


@pytest.fixture
def gimp(monkeypatch, tmp_path):
    """Run a command in an empty folder; gives click's result."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def failing(gimp, monkeypatch):
    """Run a command whose body does something else."""

    def run(body, *arguments):
        monkeypatch.setattr("gimp_plugin.plugins.registry", body)
        return gimp("plugins", *arguments)

    return run


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["plugins", "-h"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import json, sys; from gimp_plugin.cli.main import cli;"
        f"cli({arguments!r}, standalone_mode=False);"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout

    heavy = {"torch", "tiatoolbox", "anndata", "scanpy", "pandas", "numpy", "h5py"}
    assert heavy.isdisjoint(json.loads(printed.splitlines()[-1]))


def test_help_lists_every_command_with_a_summary(gimp):
    result = gimp("--help")

    assert result.exit_code == 0
    for name, command in every():
        assert name in result.stdout
        assert command.short_help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_for_each_option(gimp, name):
    result = gimp(name, "-h")

    assert (result.exit_code, result.stderr) == (0, "")
    for option in load(name).params:
        if isinstance(option, click.Option):
            assert option.help, option.name


def test_the_version_is_that_of_the_package(gimp):
    assert gimp_plugin.__version__ in gimp("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian"], "No such command 'pretrian', did you mean 'pretrain'?"),
        (["pretrain", "--epoch", "3"], "Did you mean '--epochs'?"),
        (["predict", "--adata", "a", "--missing", "kep"], "Did you mean 'keep'?"),
        (["predict", "--adata", "a", "--device", "cdua"], "Did you mean 'cuda'?"),
        (["check"], "Missing option '--adata'"),
        (["pretrain"], "nothing says which cases there are"),
        (["config", "--preset", "papr"], "unknown preset 'papr', did you mean 'paper'?"),
    ],
)
def test_wrong_usage_is_2_and_the_nearest_name_is_offered(gimp, arguments, message):
    result = gimp(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("p", hint="h"), 2),
        (errors.CohortError("p", hint="h"), 3),
        (errors.ResourceError("p", hint="h"), 5),
        (errors.LockedError("p", hint="h"), 6),
        (errors.SafetyError("p", hint="h"), 7),
    ],
)
def test_our_errors_are_two_lines_and_their_code(failing, error, code):
    result = failing(raising(error))

    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "Error: p\nHint: h\n"


def test_notes_of_an_error_are_shown(failing):
    error = errors.BagError("no features")
    error.add_note("slide 'a'")

    assert failing(raising(error)).stderr == "Error: no features\n  slide 'a'\n"


def test_a_bug_is_1_and_asks_for_a_report_without_a_traceback(failing):
    result = failing(raising(TypeError("one\ntwo")))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: unexpected TypeError: one two (gimp_plugin/cli/plugins")
    assert "please report it" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["-vv", "plugins"], ["plugins", "-vv"], ["-v", "plugins", "-v"]]
)
def test_twice_verbose_shows_the_traceback(gimp, monkeypatch, arguments):
    monkeypatch.setattr("gimp_plugin.plugins.registry", raising(errors.CohortError("p")))

    result = gimp(*arguments)

    assert "Traceback" in result.stderr
    assert result.stderr.endswith("Error: p\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOSPC, "No space left on device", "a.h5"),
        OSError(errno.EROFS, "Read-only file system", "a.h5"),
        OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    ],
)
def test_what_runs_out_is_5_and_no_bug(failing, error):
    result = failing(raising(error))

    assert result.exit_code == 5
    assert "report" not in result.stderr


def test_a_name_that_is_too_long_is_3_and_no_bug(gimp):
    name = f"{'x' * 256}.csv"

    for arguments in (["split", "--labels"], ["info"], ["verify"]):
        result = gimp(*arguments, name)

        assert result.exit_code == 3
        assert result.stderr.startswith(f"Error: '{name}")
        assert result.stderr.endswith("': File name too long\nHint: give a shorter path\n")


def test_other_errors_of_the_system_stay_bugs(failing):
    assert failing(raising(FileNotFoundError(errno.ENOENT, "gone", "x"))).exit_code == 1


def test_interruptions_have_their_codes_and_say_that_work_goes_on(failing):
    interrupted = failing(raising(KeyboardInterrupt()))
    terminated = failing(raising(outcome.Terminated()))

    assert (interrupted.exit_code, terminated.exit_code) == (130, 143)
    assert interrupted.stderr == "Interrupted; the same command continues where it stopped.\n"
    assert terminated.stderr == "Terminated; the same command continues where it stopped.\n"


def test_a_command_chooses_its_own_code(failing):
    result = failing(lambda: click.get_current_context().exit(outcome.PARTLY_DONE))

    assert result.exit_code == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_process_with_their_code(number, code):
    body = "print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        process.stdout.readline()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)

    assert process.returncode == code
    assert stderr.endswith("; the same command continues where it stopped.\n")


def test_a_second_interrupt_ends_at_once():
    body = """
    try:
        print('ready', flush=True); time.sleep(60)
    finally:
        print('cleaning', flush=True); time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING.format(body=body)], stdout=subprocess.PIPE, text=True
    )
    with process:
        for expected in ("ready", "cleaning"):
            assert process.stdout.readline().strip() == expected
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT


def test_a_reader_that_leaves_is_nobodys_error():
    reading, writing = os.pipe()
    os.close(reading)

    process = subprocess.run(
        [*GIMP, "plugins"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)

    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_letter_is_nobodys_error(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    process = subprocess.run([*GIMP, "plugins"], env=environment, capture_output=True, check=False)

    assert (process.returncode, process.stderr) == (0, b"")
    assert b"attention, independent of batch mates" in process.stdout


def test_closed_streams_are_nobodys_error():
    process = subprocess.run(
        f"{sys.executable} -m gimp_plugin plugins >&- 2>&-", shell=True, check=False
    )

    assert process.returncode == 0


def test_logging_and_warnings_are_as_before_after_a_command(gimp, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.INFO)  # what a command would not choose by itself
    before = (root.level, list(root.handlers), warnings.showwarning)

    assert gimp("plugins").exit_code == 0

    assert (root.level, list(root.handlers), warnings.showwarning) == before


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["-qq"], set()),
        (["-q"], {"Warning: ours", "Warning: theirs"}),
        ([], {"Warning: ours", "Warning: theirs", "our progress"}),
        (
            ["-v"],
            {"Warning: ours", "Warning: theirs", "our progress", "Debug: ours", "their progress"},
        ),
    ],
)
def test_verbosity_chooses_what_is_logged_to_stderr(failing, flags, shown):
    def body():
        ours, theirs = logging.getLogger("gimp_plugin.x"), logging.getLogger("other")
        ours.debug("ours")
        ours.info("our progress")
        ours.warning("ours")
        theirs.info("their progress")
        theirs.warning("theirs")
        sys.exit(0)

    result = failing(body, *flags)

    assert set(result.stderr.splitlines()) == shown
    assert result.stdout == ""


def test_python_warnings_of_libraries_are_shown_on_request_only(failing):
    def body():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", FutureWarning, stacklevel=1)
        sys.exit(0)

    assert failing(body).stderr == ""
    assert "FutureWarning: old" in failing(body, "-v").stderr


SWALLOWING = """
import os, signal, sys, time, weakref
from gimp_plugin.cli import outcome

class Thing:
    pass

def hear(_):
    os.kill(os.getpid(), signal.{name})   # raised in a callback: Python drops it

outcome.end_at_signals()
thing = Thing()
held = weakref.ref(thing, hear)
cleaned = False
try:
    del thing
    time.sleep(30)
except KeyboardInterrupt as error:
    try:
        raise ValueError("what else goes wrong while cleaning up")
    except ValueError:
        end = time.monotonic() + 3 * outcome.INSIST_S
        while time.monotonic() < end:
            pass
        cleaned = True
    code = outcome.report(error, tracebacks=False)
    sys.exit(code if cleaned else 99)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_that_was_swallowed_is_repeated_but_not_while_cleaning_up(name, code):
    script = SWALLOWING.replace("{name}", name)

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )

    assert ended.returncode == code, ended.stderr
    assert "the same command continues where it stopped" in ended.stderr
