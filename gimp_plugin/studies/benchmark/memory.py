"""The most memory that a piece of work takes in this process, and on its GPU."""

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

    Memory of the process is resident memory above what was held when the work began, after freed
    memory was given back to the system. What a process loads once, such as a library at its first
    use, counts for the work that loads it.

    Parameters
    ----------
    device
        Where the work computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        gc.collect()
        _give_back()
        self._before = _resident("VmRSS") if _forget_peak() else None
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)

    @property
    def memory(self) -> int | None:
        """Bytes of the process; None where the system does not tell."""
        peak = _resident("VmHWM")
        return None if self._before is None or peak is None else max(0, peak - self._before)

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


def _resident(name: str) -> int | None:
    """Bytes of a line of `STATUS`; None where there is none."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return 1024 * found[0] if found else None
