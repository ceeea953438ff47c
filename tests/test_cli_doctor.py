"""`gimp doctor`: what each check finds on a machine made good or bad, and how the command ends."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import h5py
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.plugins import Origin, registry
from gimp_plugin.studies import doctor
from gimp_plugin.studies.doctor import machine, packages, slides
from gimp_plugin.studies.doctor.finding import FAIL, OK, WARN, Check, Finding
from tests import plugin_factory
from tests.slide_readers import BorrowedReaders


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(slides, "SlideReaders", BorrowedReaders)
    return work


def states(findings):
    return [(finding.name, finding.state) for finding in findings]


def run(*arguments):
    return CliRunner().invoke(cli, ["doctor", *arguments])


def test_the_checks_of_this_machine_fail_nowhere_and_leave_nothing(folder):
    result = run("--json")

    told = json.loads(result.stdout)
    by_name = {check["name"]: check for check in told["checks"]}
    assert [check for check in told["checks"] if check["state"] == FAIL] == []
    assert (result.exit_code, told["usable"]) == (0, True)
    assert {check.name for check in doctor.CHECKS} - {"encoder"} <= set(by_name)
    assert "16 patches" in by_name["slide"]["detail"]
    assert all(check["remedy"] for check in told["checks"] if check["state"] == WARN)
    assert list(folder.iterdir()) == []
    assert "takes seconds" in result.stderr


def test_a_check_that_breaks_is_a_finding_and_the_others_are_made(monkeypatch):
    def breaks():
        raise RuntimeError("libfoo.so: cannot open\nshared object")

    def works():
        yield Finding(name="second", state=WARN, detail="half", remedy="mend it")

    checks = (Check(name="first", look=breaks), Check(name="second", look=works))
    monkeypatch.setattr(doctor, "diagnose", lambda: doctor.run.diagnose(checks))

    result = run()

    assert result.exit_code == 4
    first = "fail  first: RuntimeError: libfoo.so: cannot open shared object\n"
    assert result.stdout.startswith(first)
    assert "warn  second: half\n        -> mend it" in result.stdout
    monkeypatch.setattr(doctor, "diagnose", lambda: doctor.run.diagnose(checks[1:]))
    assert run().exit_code == 0  # a warning is no failure


def make_program(folder, text, name="gimp"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return str(folder)


def test_it_is_told_whose_gimp_the_shell_finds(monkeypatch, tmp_path):
    code = "from gimp_plugin.cli.main import run\n"
    editor = make_program(tmp_path / "editor", "\x7fELF GNU Image Manipulation Program")
    ours = make_program(tmp_path / "ours", f"#!{sys.executable}\n{code}")
    other = make_program(tmp_path / "other", f"#!/opt/other/bin/python\n{code}")
    make_program(tmp_path / "ours", f"#!{sys.executable}\n{code}", name="gimp-plugin")

    def program(*folders):
        monkeypatch.setenv("PATH", os.pathsep.join(folders))
        (finding,) = packages.program()
        return finding

    first, second = program(ours, editor, ours), program(editor, ours)
    foreign, alone = program(other, ours), program(editor, other)
    nothing = program(str(tmp_path / "nowhere"))

    assert (first.state, second.state, foreign.state) == (OK, WARN, WARN)
    assert (alone.state, nothing.state) == (WARN, WARN)
    assert f"behind it {editor}/gimp" in first.detail
    assert f"{editor}/gimp is not gimp-plugin" in second.detail
    assert "type gimp-plugin" in second.remedy
    assert f"{other}/gimp is the gimp-plugin of another environment" in foreign.detail
    assert "first on PATH" in foreign.remedy
    assert alone.remedy == "type python -m gimp_plugin"
    assert "python -m gimp_plugin" in nothing.remedy


CODE = "from gimp_plugin.cli.main import run\n"


@pytest.mark.parametrize(
    ("folder", "text", "state"),
    [
        ("scripts", f"#!/bin/sh\n'''exec' /a/long/path/to/python\n'''\n{CODE}", OK),
        ("scripts", "\x7fELF GNU Image Manipulation Program", WARN),
        ("elsewhere", f"#!{sys.executable}\n{CODE}", OK),
        ("elsewhere", f"#!{sys.executable}9\n{CODE}", WARN),
        ("elsewhere", f"#!/usr/bin/env python\n{CODE}", WARN),
        ("elsewhere", CODE, WARN),
    ],
)
def test_a_program_is_of_this_environment_by_its_place_or_its_interpreter(
    monkeypatch, tmp_path, folder, text, state
):
    make_program(tmp_path / folder, text)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/gimp").symlink_to(tmp_path / folder / "gimp")
    monkeypatch.setattr(packages.sysconfig, "get_path", lambda _: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path / "link"))

    (finding,) = packages.program()

    assert finding.state == state
    assert finding.detail.startswith(f"{tmp_path}/link/gimp is ")


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch):
    wanted = {
        "gimp-plugin": ["numpy>=99", "nosuchpackage>=1", "click>=1", "timm>=99; extra == 'demo'"],
        "tiatoolbox": ["numpy<1", "click>=1"],
    }
    monkeypatch.setattr(importlib.metadata, "requires", wanted.get)

    *faults, rest = packages.packages()

    assert [fault.state for fault in faults] == [FAIL, FAIL, WARN]
    assert "gimp-plugin needs numpy>=99" in faults[0].detail
    assert faults[1].detail == "nosuchpackage is missing, gimp-plugin needs nosuchpackage>=1"
    assert "tiatoolbox needs numpy<1" in faults[2].detail
    assert rest.detail.startswith("2 requirements are met")


def test_an_old_python_fails(monkeypatch):
    monkeypatch.setattr(packages.platform, "python_version", lambda: "3.9.1")

    (finding,) = packages.python()

    assert (finding.state, "3.9.1" in finding.detail) == (FAIL, True)
    assert "needs Python >=3.11" in finding.remedy


BROKEN = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("patch-encoder", "bad", "bad_encoder:bad", "raises when it is made"),
                ("patch-encoder", "gone", "nosuchmodule:x", "cannot be imported")]

    def bad(*, weights=None, offline=False):
        raise KeyError("oh")
"""


@pytest.fixture
def bad_plugins(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin_factory.install(tmp_path, "bad-encoder", BROKEN, entry="encoder")
    plugin_factory.install(tmp_path, "bad-module", "import nosuchmodule", entry="broken")
    registry.cache_clear()
    yield
    registry.cache_clear()
    sys.modules.pop("bad_encoder", None)


def test_a_plugin_that_is_slow_to_import_is_a_warning(bad_plugins, monkeypatch):
    slow = Origin(entry_point="slow", distribution="slow-plugin", version="2.1")
    monkeypatch.setattr(registry(), "seconds", {slow: 3.21})

    _, finding, _ = packages.plugins()

    assert finding.state == WARN
    assert finding.detail == "plugin 'slow' of slow-plugin 2.1 takes 3.2 s to import"


def test_plugins_and_encoders_that_fail_are_named(bad_plugins):
    failure, rest = packages.plugins()
    by_name = {finding.name: finding for finding in slides.encoders()}

    assert failure.state == FAIL
    assert "'broken' of bad-module 2.1" in failure.detail
    assert "GIMP_DISABLE_PLUGINS=broken" in failure.remedy
    assert "'encoder' of bad-encoder 2.1" in rest.detail
    assert (by_name["encoder bad"].state, by_name["encoder gone"].state) == (FAIL, FAIL)
    assert "KeyError" in by_name["encoder bad"].detail
    assert by_name["encoder timm:..."].state == OK


def test_weights_out_of_reach_are_a_warning_and_nothing_is_downloaded(tmp_path):
    by_name = {finding.name: finding for finding in slides.encoders()}

    lacking = by_name["encoder resnet50"]
    assert lacking.state == WARN
    assert "resnet50-0676ba61.pth" in lacking.detail
    assert "--offline" not in lacking.detail
    assert "downloaded on first use" in lacking.remedy
    assert "encoder untrained" not in by_name
    assert not (tmp_path / "torch").exists()


def test_a_family_without_its_package_is_a_warning(monkeypatch):
    monkeypatch.setitem(slides.PACKAGES, "timm", "nosuchpackage")

    by_name = {finding.name: finding for finding in slides.encoders()}

    assert by_name["encoder timm:..."].state == WARN
    assert by_name["encoder timm:..."].remedy == "python -m pip install nosuchpackage"


def test_a_slide_that_is_read_wrong_fails(monkeypatch):
    monkeypatch.setattr(slides, "JPEG_ERROR", -1)

    (finding,) = slides.readers()

    assert finding.state == FAIL
    assert "expected [190, 110, 160]" in finding.detail


def test_a_library_that_does_not_load_fails(monkeypatch):
    monkeypatch.setattr(slides, "LIBRARIES", ("h5py", "nosuchlibrary"))

    fault, rest = slides.libraries()

    assert (fault.state, rest.state) == (FAIL, OK)
    assert "nosuchlibrary" in fault.detail
    assert "h5py" in rest.detail


def refusing(*_, **__):
    raise OSError(37, "No locks available")


def test_a_folder_that_cannot_be_written_fails(monkeypatch):
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refusing)

    (finding,) = machine.room()

    assert (finding.state, finding.remedy) == (FAIL, "work in another folder")


@pytest.mark.parametrize(("free", "state"), [(10e9, OK), (1e9, WARN), (1e8, FAIL)])
def test_little_room_is_told(monkeypatch, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    assert states(machine.room()) == [("disk", state)]


def test_a_file_system_without_locks_is_told(monkeypatch, folder):
    monkeypatch.setattr(h5py, "File", refusing)
    (by_hdf5,) = machine.locking()

    @contextmanager
    def no_lock(_path):
        refusing()
        yield

    monkeypatch.setattr(machine, "held", no_lock)
    (by_us,) = machine.locking()

    assert (by_hdf5.state, by_us.state) == (WARN, FAIL)
    assert "HDF5_USE_FILE_LOCKING=FALSE" in by_hdf5.remedy
    assert list(folder.iterdir()) == []


def test_scarce_memory_files_and_sizes_are_told(monkeypatch):
    limits = {resource.RLIMIT_NOFILE: (64, 64), resource.RLIMIT_FSIZE: (10**9, 10**9)}
    monkeypatch.setattr(machine, "_free_memory", lambda: 1e9)
    monkeypatch.setattr(machine.resource, "getrlimit", limits.get)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64e6))

    found = [*machine.memory(), *machine.limits()]

    assert {finding.state for finding in found} == {WARN}
    text = " ".join(finding.detail + finding.remedy for finding in found)
    for part in ("1.0 GB free", "64 open files", "1.00 GB at most", "--shm-size"):
        assert part in text


def test_the_free_memory_is_a_number_of_this_machine():
    assert 1e7 < machine._free_memory() < 1e14


def test_sqlite_without_extensions_is_a_warning(monkeypatch):
    for attributes, state in (({}, WARN), ({"enable_load_extension": None}, OK)):
        connection = type("Connection", (), attributes)
        stand_in = SimpleNamespace(Connection=connection, sqlite_version="3.1")
        monkeypatch.setattr(machine, "sqlite3", stand_in)

        assert states(machine.sqlite()) == [("sqlite", state)]


def test_devices_are_named_with_their_memory(monkeypatch, tmp_path):
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(machine, "DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    without = list(machine.devices())
    driver.touch()
    unseen = list(machine.devices())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3e9, (index + 4) * 1e9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    two = list(machine.devices())

    assert states(without) == [("cpu", OK), ("cuda", OK)]
    assert "threads" in without[0].detail
    assert states(unseen) == [("cpu", OK), ("cuda", WARN)]
    assert [finding.detail for finding in two[1:]] == [
        "cuda:0 Card 0, 3.0 of 4.0 GB free",
        "cuda:1 Card 1, 3.0 of 5.0 GB free",
    ]
