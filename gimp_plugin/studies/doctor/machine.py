"""Checks of the machine: devices, memory, disk space, limits, and file locks."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from gimp_plugin.storage.locks import held
from gimp_plugin.studies.doctor.finding import FAIL, OK, WARN, Finding

GB = 1e9
LITTLE_MEMORY, LITTLE_ROOM, NO_ROOM, LITTLE_SHARED, FEW_FILES = 4 * GB, 5 * GB, 0.2 * GB, GB, 256
DRIVER = Path("/dev/nvidiactl")
SHARED = Path("/dev/shm")  # noqa: S108  # what PyTorch's workers use


def devices() -> Iterator[Finding]:
    """Report the devices that the encoder and the model can run on."""
    import torch

    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{n_cores} cores, {torch.get_num_threads()} threads (OMP_NUM_THREADS changes them)"
    yield Finding(name="cpu", state=OK, detail=detail)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    for index in range(torch.cuda.device_count() if there else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        detail = f"cuda:{index} {name}, {free / GB:.1f} of {total / GB:.1f} GB free"
        yield Finding(name="cuda", state=OK, detail=detail)
    if not there and (DRIVER.exists() or said):
        reason = " ".join(str(said[0].message).split()) if said else "this torch has no CUDA"
        detail = f"there is a driver, but torch {torch.__version__} sees no device: {reason}"
        remedy = "install a torch for this driver (https://pytorch.org/get-started)"
        yield Finding(name="cuda", state=WARN, detail=detail, remedy=remedy)
    elif not there:
        yield Finding(name="cuda", state=OK, detail="no device; the CPU is used")


def memory() -> Iterator[Finding]:
    """Report how much memory is free."""
    free = _free_memory()
    few = free < LITTLE_MEMORY
    remedy = "TIAToolbox alone takes 1.3 GB: close other programs, or use a larger machine"
    detail = f"{free / GB:.1f} GB free"
    yield Finding(
        name="memory", state=WARN if few else OK, detail=detail, remedy=remedy if few else ""
    )


def room() -> Iterator[Finding]:
    """Report whether files can be written in this folder, and how much space is free."""
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        detail = f"cannot write in {str(folder)!r}: {error}"
        yield Finding(name="disk", state=FAIL, detail=detail, remedy="work in another folder")
        return
    state = FAIL if free < NO_ROOM else WARN if free < LITTLE_ROOM else OK
    remedy = "" if state == OK else "free space; 10,000 patches of 1,024 features take 21 MB"
    detail = f"{free / GB:.1f} GB free in {str(folder)!r}"
    yield Finding(name="disk", state=state, detail=detail, remedy=remedy)


def locking() -> Iterator[Finding]:
    """Report whether files in this folder can be locked, by us and by HDF5."""
    import h5py

    remedy = "work in a folder on a local disk"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".gimp-doctor-") as folder:
        try:
            with held(Path(folder) / "lock"):
                pass
        except OSError as error:
            detail = f"this file system has no locks: {error}"
            yield Finding(name="locking", state=FAIL, detail=detail, remedy=remedy)
            return
        try:
            with h5py.File(Path(folder) / "a.h5", "w", locking=True) as file:
                file["x"] = [1]
        except OSError as error:
            detail = f"HDF5 cannot lock files here: {error}"
            remedy = f"{remedy}, or set HDF5_USE_FILE_LOCKING=FALSE"
            yield Finding(name="locking", state=WARN, detail=detail, remedy=remedy)
            return
    asked = os.environ.get("HDF5_USE_FILE_LOCKING")
    detail = "files can be locked" + (f"; HDF5_USE_FILE_LOCKING={asked}" if asked else "")
    yield Finding(name="locking", state=OK, detail=detail)


def sqlite() -> Iterator[Finding]:
    """Report whether TIAToolbox's annotation stores work."""
    version = sqlite3.sqlite_version
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        yield Finding(name="sqlite", state=OK, detail=f"SQLite {version} loads extensions")
        return
    detail = f"this Python's SQLite {version} loads no extensions: no TIAToolbox annotation stores"
    remedy = "for those only: a Python of conda-forge, or one built with loadable extensions"
    yield Finding(name="sqlite", state=WARN, detail=detail, remedy=remedy)


def limits() -> Iterator[Finding]:
    """Report limits on shared memory, open files and file sizes that are too low."""
    found = []
    if SHARED.is_dir() and shutil.disk_usage(SHARED).free < LITTLE_SHARED:
        free = shutil.disk_usage(SHARED).free / GB
        found.append((f"{free:.2f} GB of shared memory", "docker run --shm-size=2g"))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files not in {resource.RLIM_INFINITY, -1} and files < FEW_FILES:
        found.append((f"{files} open files at most", "ulimit -n 4096"))
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size not in {resource.RLIM_INFINITY, -1}:
        found.append((f"files of {size / GB:.2f} GB at most", "ulimit -f unlimited"))
    for detail, remedy in found:
        yield Finding(name="limits", state=WARN, detail=detail, remedy=remedy)
    if not found:
        yield Finding(name="limits", state=OK, detail=f"{files} open files, enough shared memory")


def _free_memory() -> float:
    """Bytes that a process can still allocate, within the limit of a container."""
    free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    table = Path("/proc/meminfo")
    if table.is_file():
        lines = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            free = float(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        free = min(free, float(limit.read_text()) - float(used.read_text()))
    return free
