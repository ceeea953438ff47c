"""Hooks that a plugin may implement, and the markers of their specification and implementation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pluggy

PROJECT = "gimp_plugin"

API_VERSION = 1
"""Version of hooks and protocols; a plugin that needs a later one sets, e.g., `gimp_api = 2`."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

ComponentRow = tuple[str, str, str, str]
CommandRow = tuple[str, str, str]


@hookspec
def gimp_components() -> Iterable[ComponentRow]:  # type: ignore[empty-body]  # a specification
    """Name the components that this plugin provides.

    Return one row per component: its kind (one of `gimp_plugin.plugins.KINDS`), the name that users
    type, an import string `"module:attribute"`, and a summary of one line. That module is imported
    when the component is first used, so do not import torch in the plugin's own module.
    """


@hookspec
def gimp_commands() -> Iterable[CommandRow]:  # type: ignore[empty-body]  # a specification
    """Name the commands that this plugin adds to `gimp`.

    Return one row per command: its name, the import string of a `click.Command`, and the summary
    that `gimp --help` shows. That module is imported when the command is run.
    """


@hookspec
def gimp_slide_done(slide_id: str, bag: Path, n_patches: int) -> None:
    """Receive the news that the bag of a slide is complete.

    Parameters
    ----------
    slide_id
        The slide.
    bag
        File of the bag.
    n_patches
        Number of patches in it.
    """


@hookspec
def gimp_epoch_done(
    stage: str, epoch: int, n_epochs: int, metrics: Mapping[str, float], run: Path
) -> None:
    """Receive the news that an epoch of a training is over and its checkpoint written.

    Parameters
    ----------
    stage
        `genes`, `pretrain` or `finetune`; a plugin's trainer may have other stages.
    epoch, n_epochs
        Number of the epoch, counted from 1, and the largest number of epochs.
    metrics
        Losses and validation metrics of the epoch by name; a copy.
    run
        The run folder.
    """
