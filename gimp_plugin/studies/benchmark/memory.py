"""The most memory that this process, and its GPU, hold during a piece of work."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"
"""What the kernel takes, written to `CLEAR`, to count the peak from now on."""


class Watch:
    """Counts from its making on.

    Memory is all that the process holds, Python and its libraries included: what it holds more than
    before would blame the first work of a process for the libraries that it loads, 190 MiB in a
    small training. Memory that is free is given back to the system first.

    Parameters
    ----------
    device
        Where the work computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        gc.collect()
        _give_back()
        self._counts = _forget_peak()
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)

    @property
    def memory(self) -> int | None:
        """Bytes of the process; None where the system does not tell."""
        return resident("VmHWM") if self._counts else None

    @property
    def gpu_memory(self) -> int | None:
        """Bytes that torch allocated on the GPU, those held before included; None without one."""
        return None if self._gpu is None else torch.cuda.max_memory_allocated(self._gpu)


def _give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget_peak() -> bool:
    """Count the peak from now on; False where the system cannot."""
    try:
        CLEAR.write_text(FORGET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def resident(name: str) -> int | None:
    """Bytes that the process holds: `VmRSS` now, `VmHWM` at most; None where no system tells."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return 1024 * found[0] if found else None
