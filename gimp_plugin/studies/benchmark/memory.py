"""Peak memory that this process, and its GPU, hold during a piece of work."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"
"""Value that resets the peak when written to `CLEAR`."""


class Watch:
    """Measures peak memory from its creation on.

    The figure is all memory of the process, including Python and its libraries. An increase over
    the start would charge the first work of a process with loading libraries, 190 MiB in a small
    training. Freed memory is returned to the system first.

    Parameters
    ----------
    device
        Device of the work.
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
        """Peak bytes of the process; None if the system does not report them."""
        return resident("VmHWM") if self._counts else None

    @property
    def gpu_memory(self) -> int | None:
        """Peak bytes of torch on the GPU, including those held before; None without a GPU."""
        return None if self._gpu is None else torch.cuda.max_memory_allocated(self._gpu)


def _give_back() -> None:
    """Return freed memory to the system, if the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget_peak() -> bool:
    """Reset the peak; False if the system cannot."""
    try:
        CLEAR.write_text(FORGET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def resident(name: str) -> int | None:
    """Bytes of the process, `VmRSS` now or `VmHWM` at the peak; None if not reported."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return 1024 * found[0] if found else None
