"""The device and precision that a model runs on."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from gimp_plugin.config import Runtime
from gimp_plugin.errors import ResourceError


def device_of(runtime: Runtime) -> torch.device:
    """Device by name.

    Parameters
    ----------
    runtime
        `device` is `auto` (CUDA where torch sees it), `cpu`, `cuda` or `cuda:N`.

    Returns
    -------
    The device.

    Raises
    ------
    ResourceError
        If it is not there; nothing falls back to the CPU unasked.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if runtime.device == "auto":
        return torch.device("cuda" if n_gpus else "cpu")
    device = torch.device(runtime.device)
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        problem = f"device {runtime.device!r} is not there: torch sees {n_gpus} CUDA devices"
        raise ResourceError(problem, hint="use --device cpu, or install a driver and a CUDA torch")
    return device


def precision_of(runtime: Runtime) -> str:
    """Precision by name: float32 on the CPU and bf16 on CUDA unless the user says otherwise."""
    if runtime.precision != "auto":
        return runtime.precision
    return "bf16" if device_of(runtime).type == "cuda" else "fp32"


def accelerator_of(runtime: Runtime) -> Accelerator:
    """Accelerator for a device and precision.

    Parameters
    ----------
    runtime
        Device and precision as the user gave them.

    Returns
    -------
    The accelerator.

    Raises
    ------
    ResourceError
        If the device is not there.
    """
    device = device_of(runtime)
    if device.index is not None:
        torch.cuda.set_device(device)
    # The accelerator's state outlives it, and a second run in this process may differ.
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    mixed = "bf16" if precision_of(runtime) == "bf16" else "no"
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed)
