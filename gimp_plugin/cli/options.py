"""Options that commands share: one definition each, used as a decorator.

An option has the name of the configuration field that it sets, so that a command can pass all its
options to `cli.given` without naming them. The configuration checks ranges and names, also for
values from files and from Python.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from gimp_plugin.errors import ResourceError, did_you_mean
from gimp_plugin.keys import MODALITIES

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


class Place(click.Path):
    """A path that is not empty, as an unset variable of the shell would make it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path, which would mean the current folder."""
        if value == "":
            self.fail("The path is empty.", param, ctx)
        return super().convert(value, param, ctx)


FILE = Place(path_type=Path)


class Choice(click.Choice[str]):
    """A fixed set of words; for an unknown word, the nearest one is suggested."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return click's message and the nearest choice."""
        return f"{super().get_invalid_choice_message(value, ctx)}{_nearest(value, self.choices)}"


class Device(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the spelling; whether the device exists shows when it is used."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            near = _nearest(value, ("auto", "cpu", "cuda"))
            self.fail(f"{value!r} is not one of auto, cpu, cuda, cuda:N.{near}", param, ctx)
        return str(value)


def all_of(*decorators: Decorator) -> Decorator:
    """Combine decorators into one; `--help` lists the options in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def output(default: str, *, folder: bool = True) -> Decorator:
    """Make the option --output; a path that cannot be written is refused before any work."""
    kind = "folder" if folder else "file"
    return click.option(
        "-o",
        "--output",
        type=FILE,
        default=Path(default),
        show_default=True,
        callback=lambda _ctx, _param, path: check_output(path, folder=folder),
        help=f"Output {kind}.",
    )


def check_output(path: Path, *, folder: bool) -> Path:
    """Refuse an output path that is of the wrong kind or cannot be written.

    Parameters
    ----------
    path
        Output as the user gave it.
    folder
        Whether the command writes a folder.

    Returns
    -------
    The path, or where it leads through a link to what does not exist yet.

    Raises
    ------
    BadParameter
        If the path is a file but a folder is expected, or the other way round, or is neither.
    ResourceError
        If the path cannot be reached or written.
    """
    try:
        path = _led_to(path, folder=folder)
        place = _existing_folder(path, folder=folder)
    except OSError as error:
        hint = "choose another --output"
        raise ResourceError(f"cannot reach {str(path)!r}: {error.strerror}", hint=hint) from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise ResourceError(f"cannot write in {str(place)!r}", hint="choose another --output")
    return path


def _led_to(path: Path, *, folder: bool) -> Path:
    """Follow links to folders that do not exist yet, below which none could be created."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # a link to itself does not exist either
    place = path if folder else path.parent
    if not any(one.is_symlink() and not one.exists() for one in (place, *place.parents)):
        return path
    return place.resolve() if folder else place.resolve() / path.name


def _existing_folder(path: Path, *, folder: bool) -> Path:
    """Find the deepest existing folder on the path to an output."""
    if path.exists() and path.is_dir() is not folder:
        wanted, found = ("folder", "file") if folder else ("file", "folder")
        raise click.BadParameter(f"{str(path)!r} is a {found}, expected a {wanted}.")
    if path.exists() and not (folder or path.is_file()):  # a pipe or a device
        raise click.BadParameter(f"{str(path)!r} is not a regular file.")
    place = path if path.is_dir() else path.absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise click.BadParameter(f"{str(place)!r} is a file, expected a folder.")
    return place


def preset(*, from_run: bool) -> Decorator:
    """Make the option for the settings to start from."""
    return click.option(
        "--preset",
        metavar="NAME",
        show_default="the run to start from, else recommended" if from_run else "recommended",
        help="Settings of the model and its training to start from: recommended or paper.",
    )


def settings(*, from_run: bool) -> Decorator:
    """Make the options for the settings of a model and its training.

    Components are looked up when the command runs. Only a command that may start from a run trains
    whole systems and heads.
    """
    default = "as in the preset or the run to start from" if from_run else "as in the preset"

    def option(name: str, **others: Any) -> Decorator:
        return click.option(name, show_default=default, **others)

    def component(kind: str, summary: str, *, metavar: str = "NAME") -> Decorator:
        text = f"{summary}; 'gimp plugins' lists them."
        return option(f"--{kind}", metavar=metavar, help=text)

    system = component("system", "Whole system, instead of a model made of components")
    head = component("head", "Classification head")
    return all_of(
        preset(from_run=from_run),
        option("--modalities", type=Choice(MODALITIES), help="Halves that the model has."),
        *([system] if from_run else []),
        component("gene-encoder", "Gene encoder"),
        component(
            "gene-grouping", "Gene grouping, the order of the genes", metavar="NAME[:ARGUMENT]"
        ),
        option(
            "--n-top-genes",
            type=int,
            help="Number of genes to read, the most variable ones in the training cases; 0: all.",
        ),
        component("aggregator", "Aggregator of a bag"),
        *([head] if from_run else []),
        option(
            "--class-weights",
            type=Choice(["none", "balanced"]),
            help="Weights of the classes in the cross-entropy: all equal, or one over the number "
            "of their training cases.",
        ),
        option("--epochs", type=int, help="Maximum epochs."),
        option("--lr", type=float, help="Peak learning rate."),
        option("--batch-size", type=int, help="Cases per batch."),
    )


device = click.option(
    "--device",
    type=Device(),
    metavar="auto|cpu|cuda[:N]",
    default="auto",
    show_default=True,
    help="Device to compute on.",
)
precision = click.option(
    "--precision",
    type=Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on the CPU, bf16 on CUDA.",
)
num_workers = click.option(
    "--num-workers",
    type=int,
    default=0,
    show_default=True,
    help="Number of processes that load data; 0 loads in the main process.",
)
seed = click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed for everything drawn at random."
)
overwrite = click.option(
    "--overwrite", is_flag=True, help="Replace an output that was made from other inputs."
)
tensorboard = click.option(
    "--tensorboard",
    is_flag=True,
    help="Also write the learning curves for TensorBoard, to OUTPUT/tensorboard; needs "
    "gimp-plugin[tensorboard].",
)
scheduler = click.option(
    "--scheduler",
    metavar="WHERE",
    default="",
    show_default="this process",
    help="Run on dask.distributed: a scheduler's address or file, or local:N for N processes.",
)
offline = click.option("--offline", is_flag=True, help="Download nothing.")

weights = click.option(
    "--weights",
    type=FILE,
    show_default="the encoder's own",
    help="Weights file of the patch encoder.",
)
slide_mpp = click.option(
    "--slide-mpp",
    type=float,
    help="Microns per pixel of slides that do not state theirs; never overrides a stated value.",
)
masks = click.option(
    "--masks",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with a tissue mask for each slide: SLIDE_ID.png, .geojson, .json, .db, "
    ".zarr or .npy.",
)

checkpoint_activations = click.option(
    "--checkpoint-activations",
    is_flag=True,
    help="Recompute activations for the gradient: slower steps, far less memory.",
)

hardware = all_of(device, precision, num_workers)
runtime = all_of(hardware, seed, overwrite)

run = click.option(
    "--model",
    "run",
    metavar="RUN",
    type=FILE,
    default=Path("runs/finetune"),
    show_default=True,
    help="Run folder of a fine-tuned model.",
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _nearest(value: object, known: tuple[str, ...] | Any) -> str:
    """Suggest the nearest word, phrased as click does."""
    return did_you_mean(str(value), known).replace(", did", " Did")
