"""Checks of the arguments that a user of TIAToolbox gives an engine, before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from gimp_plugin.assembly.device import device_of
from gimp_plugin.config import Runtime
from gimp_plugin.errors import ConfigError, did_you_mean, listed
from gimp_plugin.toolbox.bags import Inputs
from gimp_plugin.toolbox.overlays import SUFFIXES

DICT, ZARR = "dict", "zarr"
OUTPUTS = (DICT, ZARR, *SUFFIXES)
OPTIONS = ("patch_mode", "device", "num_workers", "batch_size", "verbose")
"""Options of TIAToolbox's `run` that are accepted here, although some have no effect."""


def paths_of(images: Any) -> list[Path]:
    """Paths of images.

    Parameters
    ----------
    images
        One or several paths or open readers.

    Returns
    -------
    At least one path.

    Raises
    ------
    ConfigError
        If there are no images, or one is neither a path nor a reader.
    """
    if isinstance(images, (str, Path)) or hasattr(images, "input_path"):
        images = [images]
    expected = "expected slides, bags, folders of either, or open readers"
    if not isinstance(images, Iterable) or hasattr(images, "dtype"):
        raise ConfigError(f"images is {type(images).__name__}, {expected}")
    paths = []
    for image in images:
        path = getattr(image, "input_path", image)
        if not isinstance(path, (str, Path)) or not str(path):
            raise ConfigError(
                f"one of the images is {type(path).__name__} {path!r:.40}, {expected}"
            )
        paths.append(Path(path))
    if not paths:
        raise ConfigError(f"no images are given, {expected}")
    return paths


def inputs_of(given: Mapping[str, Any]) -> Inputs:
    """Inputs of a prediction besides the slides.

    Parameters
    ----------
    given
        Values by name.

    Returns
    -------
    The inputs.

    Raises
    ------
    ConfigError
        If there is no such input.
    """
    known = [field.name for field in fields(Inputs)]
    _check_known("GimpPredictor", given, known, hint=f"known are {listed(known, limit=99)}")
    return Inputs(**given)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of `run` that are not accepted here.

    Parameters
    ----------
    options
        Values by name; None counts as not given.

    Raises
    ------
    ConfigError
        If there is such an option.
    """
    given = [name for name, value in options.items() if value is not None]
    hint = "slides are read in the same way as those of the run"
    _check_known("GimpPredictor.run", given, OPTIONS, hint=hint)


def kind_of(output_type: Any, save_dir: Path | str | None) -> str:
    """Type of the output, in lower case.

    Parameters
    ----------
    output_type
        Type as the user gave it.
    save_dir
        Folder to save to; if given, `dict` becomes `zarr`.

    Returns
    -------
    One of `OUTPUTS`.

    Raises
    ------
    ConfigError
        If the type is unknown, or needs a folder.
    """
    kind = output_type.lower() if isinstance(output_type, str) else ""
    if kind not in OUTPUTS:
        problem = f"output_type is {output_type!r}{did_you_mean(kind, OUTPUTS)}"
        raise ConfigError(problem, hint=f"known are {listed(OUTPUTS)}")
    if save_dir is None or not str(save_dir):
        if kind != DICT or save_dir is not None:
            raise ConfigError(f"output_type={output_type!r} needs a save_dir", hint="give one")
        return kind
    return ZARR if kind == DICT else kind


def device_name(device: Any) -> str:
    """Name of a device in torch; `auto` is CUDA if torch sees it.

    Parameters
    ----------
    device
        `auto`, `cpu`, `cuda` or `cuda:N`, or a device of torch.

    Returns
    -------
    The name.

    Raises
    ------
    ConfigError
        If the name is not valid.
    ResourceError
        If the device does not exist.
    """
    return str(device_of(Runtime(device=str(device))))


def _check_known(what: str, given: Iterable[str], known: Iterable[str], *, hint: str) -> None:
    """Refuse unknown names."""
    for name in given:
        if name not in known:
            problem = f"{what} takes no {name!r}{did_you_mean(name, known)}"
            raise ConfigError(problem, hint=hint)
