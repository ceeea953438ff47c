"""Options that commands share: one definition each, used as a decorator.

An option bears the name of the configuration field that it sets, so that a command can hand what it
was given to `cli.settings` without naming each. Ranges and names are checked by the configuration,
which also checks them for files and for Python.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gimp_plugin.errors import ResourceError, did_you_mean
from gimp_plugin.keys import MODALITIES

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


class Place(click.Path):
    """A path; an empty one, as an unset variable of a shell gives it, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path, which would be the folder at hand."""
        if value == "":
            self.fail("The path is empty.", param, ctx)
        return super().convert(value, param, ctx)


FILE = Place(path_type=Path)
FROM_START = "as in the preset or run that it starts from"


class Choice(click.Choice[str]):
    """A fixed set of words; the nearest one is offered for a word outside of it."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Give click's message and the nearest choice."""
        return f"{super().get_invalid_choice_message(value, ctx)}{_nearest(value, self.choices)}"


class Device(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the spelling; whether the device is there is seen when it is used."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            near = _nearest(value, ("auto", "cpu", "cuda"))
            self.fail(f"{value!r} is not one of auto, cpu, cuda, cuda:N.{near}", param, ctx)
        return str(value)


def all_of(*decorators: Decorator) -> Decorator:
    """Make one decorator of several; `--help` lists the options in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def output(default: str, *, folder: bool = True) -> Decorator:
    """Where the command writes; refused before any work when nothing can be written there."""
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
    The path.

    Raises
    ------
    BadParameter
        If a file stands where a folder is wanted, or the other way round.
    ResourceError
        If the file system does not let us write there.
    """
    try:
        place = _existing_folder(path, folder=folder)
    except OSError as error:
        hint = "choose another --output"
        raise ResourceError(f"cannot reach {str(path)!r}: {error.strerror}", hint=hint) from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise ResourceError(f"cannot write in {str(place)!r}", hint="choose another --output")
    return path


def _existing_folder(path: Path, *, folder: bool) -> Path:
    """Deepest folder on the way to an output that is there already."""
    if path.exists() and path.is_dir() is not folder:
        wanted, found = ("folder", "file") if folder else ("file", "folder")
        raise click.BadParameter(f"{str(path)!r} is a {found}, expected a {wanted}.")
    place = path if path.is_dir() else path.absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise click.BadParameter(f"{str(place)!r} is a file, expected a folder.")
    return place


preset = click.option(
    "--preset",
    metavar="NAME",
    show_default="recommended",
    help="Model and training to start from: recommended or paper.",
)

modalities = click.option(
    "--modalities",
    type=Choice(MODALITIES),
    show_default=FROM_START,
    help="Halves that the model has.",
)


def component(kind: str, summary: str, *, metavar: str = "NAME") -> Decorator:
    """Name of a registered component, looked up when the command runs."""
    return click.option(
        f"--{kind}",
        metavar=metavar,
        show_default=FROM_START,
        help=f"{summary}; 'gimp plugins' lists them.",
    )


system = component("system", "System of the comparison, instead of a model made of parts")
gene_encoder = component("gene-encoder", "Gene encoder")
aggregator = component("aggregator", "Aggregator of a bag")
head = component("head", "Classification head")
gene_grouping = component("gene-grouping", "Order of the genes", metavar="NAME[:ARGUMENT]")
n_top_genes = click.option(
    "--n-top-genes",
    type=int,
    show_default=FROM_START,
    help="Read the most variable genes of the training cases only, that many; 0: all.",
)

class_weights = click.option(
    "--class-weights",
    type=Choice(["none", "balanced"]),
    show_default=FROM_START,
    help="Weights of the classes in the cross-entropy: all alike, or by one over the number of "
    "training cases.",
)
training = all_of(
    click.option("--epochs", type=int, show_default=FROM_START, help="Epochs, at most."),
    click.option("--lr", type=float, show_default=FROM_START, help="Peak learning rate."),
    click.option("--batch-size", type=int, show_default=FROM_START, help="Cases a batch."),
)

device = click.option(
    "--device",
    type=Device(),
    metavar="auto|cpu|cuda[:N]",
    default="auto",
    show_default=True,
    help="What to compute on.",
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
    help="Processes that load data; 0 loads in the main one.",
)
seed = click.option(
    "--seed", type=int, default=0, show_default=True, help="Of everything that is drawn."
)
overwrite = click.option(
    "--overwrite", is_flag=True, help="Replace an output that was made from other inputs."
)
tensorboard = click.option(
    "--tensorboard",
    is_flag=True,
    help="Write the learning curves for TensorBoard, too, to OUTPUT/tensorboard; needs "
    "gimp-plugin[tensorboard].",
)
scheduler = click.option(
    "--scheduler",
    metavar="WHERE",
    default="",
    show_default="this process",
    help="Work on dask.distributed: a scheduler's address or file, or local:N for N processes.",
)
offline = click.option("--offline", is_flag=True, help="Fetch nothing from the network.")

weights = click.option(
    "--weights",
    type=FILE,
    show_default="the encoder's own",
    help="Weights file of the patch encoder.",
)
slide_mpp = click.option(
    "--slide-mpp",
    type=float,
    help="Microns per pixel of slides that do not state theirs; never overrides.",
)
masks = click.option(
    "--masks",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with a mask of the tissue for each slide: SLIDE_ID.png, .geojson, .json, .db, "
    ".zarr or .npy.",
)

checkpoint_activations = click.option(
    "--checkpoint-activations",
    is_flag=True,
    help="Compute activations again for the gradient: slower steps in far less memory.",
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
    """Offer the nearest word in click's own tone."""
    return did_you_mean(str(value), known).replace(", did", " Did")
