"""The device and precision that a model runs on."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    is_tensorboard_available,
    parse_flag_from_env,
)

from gimp_plugin.config import Runtime
from gimp_plugin.errors import ConfigError, ResourceError

TRACKER = "tensorboard"
SHARDED = ("DEEPSPEED", "FSDP", "MEGATRON_LM")


def device_of(runtime: Runtime) -> torch.device:
    """Device that the user chose.

    Parameters
    ----------
    runtime
        `device` is `auto` (CUDA if torch sees it), `cpu`, `cuda` or `cuda:N`.

    Returns
    -------
    The device.

    Raises
    ------
    ConfigError
        If the name is not valid, or contradicts the launcher.
    ResourceError
        If the device does not exist; the CPU is never used instead without being asked for.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    launched_on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    if runtime.device == "auto":
        return torch.device("cuda" if n_gpus and not launched_on_cpu else "cpu")
    try:
        device = torch.device(runtime.device)
    except RuntimeError as error:
        problem = f"device is {runtime.device!r}, expected auto, cpu, cuda or cuda:N"
        raise ConfigError(problem) from error
    if device.type == "cuda" and launched_on_cpu:
        problem = f"--device {runtime.device} and accelerate launch --cpu contradict each other"
        raise ConfigError(problem, hint="leave one of them out")
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        problem = f"device {runtime.device!r} is not available: torch sees {n_gpus} CUDA devices"
        raise ResourceError(problem, hint="use --device cpu, or install a driver and a CUDA torch")
    return device


def precision_of(runtime: Runtime) -> str:
    """Precision that the user chose; by default float32 on the CPU and bf16 on CUDA."""
    if runtime.precision != "auto":
        return runtime.precision
    return "bf16" if device_of(runtime).type == "cuda" else "fp32"


def accelerator_of(runtime: Runtime, *, folder: Path | None = None) -> Accelerator:
    """Accelerator for a device and precision, in the process group that a launcher started, if any.

    Parameters
    ----------
    runtime
        Device, precision and trackers as the user gave them.
    folder
        Folder that trackers write to; without it there are no trackers.

    Returns
    -------
    The accelerator.

    Raises
    ------
    ConfigError
        If the launcher is set up for something unsupported, or a tracker is not installed.
    ResourceError
        If the device does not exist.
    """
    device = device_of(runtime)
    _check_launcher(runtime, device)
    _check_trackers(runtime)
    if device.index is not None:
        torch.cuda.set_device(device)
    # The accelerator's state outlives it, and a second run in this process may need another.
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001  # there is no other way
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if precision_of(runtime) == "bf16" else "no",
        # Some batches leave parameters without a gradient, e.g. one without hidden patches.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        # A launcher's configuration might divide the loss by another number.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=TRACKER if runtime.tensorboard and folder is not None else None,
        project_dir=folder,
    )


def _check_trackers(runtime: Runtime) -> None:
    """Refuse a tracker whose package is missing: accelerate would silently leave it out."""
    if runtime.tensorboard and not is_tensorboard_available():
        problem = "--tensorboard needs the package tensorboard, which is not installed"
        raise ConfigError(problem, hint="pip install 'gimp-plugin[tensorboard]'")


def _check_launcher(runtime: Runtime, device: torch.device) -> None:
    """Refuse a launcher's setup that the training does not support."""
    for name in SHARDED:
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            problem = f"the launcher is set up for {name}, and training is data-parallel only"
            raise ConfigError(problem, hint="launch with torchrun, or another accelerate config")
    if device.type == "cpu" or "LOCAL_RANK" not in os.environ:
        return
    if ":" in runtime.device:
        problem = f"--device {runtime.device} names one GPU, and a launcher gives each process one"
        hint = "give --device cuda, and choose GPUs with CUDA_VISIBLE_DEVICES"
        raise ConfigError(problem, hint=hint)
    n_processes, n_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if n_processes > n_gpus:
        problem = f"{n_processes} processes on a machine where torch sees {n_gpus} GPUs"
        raise ResourceError(problem, hint="start one process per GPU, or use --device cpu")
