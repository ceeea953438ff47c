"""The folder of a comparison: which comparison it holds, and which cells are done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gimp_plugin.errors import MissingFileError, StaleOutputError, counted, listed
from gimp_plugin.storage.atomic import (
    clean_partials,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from gimp_plugin.storage.differences import differences
from gimp_plugin.storage.tables import FAILURES

FORMAT, FORMAT_VERSION = "gimp.benchmark", 1
STUDY, CELLS, CELL = "study.json", "cells", "cell.json"
PREDICTIONS = "predictions.csv"
SPLITS, COHORT = "splits.csv", "genes.h5ad"
PLUGINS = "plugins"
LABEL_TABLES, SLIDES = "labels", "slides.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of training one method on one fold and seed.

    Parameters
    ----------
    n_parameters
        Number of trained parameters of the model.
    n_settings
        Number of settings that were trained, of which one was chosen on the validation cases.
    seconds
        Time of all these trainings.
    chosen_epoch
        Epoch whose weights a network keeps, counted from 1.
    predict_seconds
        Prediction time per slide, for a network that reads slides.
    peak_memory, peak_gpu_memory
        Maximum bytes that the process, and torch on its GPU, held during training and prediction;
        None if unknown.
    """

    n_parameters: int
    n_settings: int
    seconds: float
    chosen_epoch: int | None = None
    predict_seconds: float | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None

    def __add__(self, other: Cost) -> Cost:
        """Add the cost of work that is done after this."""
        times = (self.predict_seconds, other.predict_seconds)
        return Cost(
            n_parameters=self.n_parameters + other.n_parameters,
            n_settings=self.n_settings + other.n_settings,
            seconds=self.seconds + other.seconds,
            predict_seconds=None if times == (None, None) else sum(one or 0.0 for one in times),
        ).with_peaks(
            _larger(self.peak_memory, other.peak_memory),
            _larger(self.peak_gpu_memory, other.peak_gpu_memory),
        )

    def with_peaks(self, memory: int | None, gpu_memory: int | None) -> Cost:
        """Raise the peaks to the given memory, if it is larger."""
        return replace(
            self,
            peak_memory=_larger(self.peak_memory, memory),
            peak_gpu_memory=_larger(self.peak_gpu_memory, gpu_memory),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """One cell of the design: a method on a fold with a seed.

    Parameters
    ----------
    method, fold, seed
        Name of the method and the fold, and the seed.
    """

    method: str
    fold: str
    seed: int

    def within(self, output: Path) -> Path:
        """Give the cell's folder, which is inside the output for any method or fold name."""
        name = f"fold-{quote(self.fold, safe='')}-seed-{self.seed}"
        return output / CELLS / quote(self.method, safe="+=") / name

    def __str__(self) -> str:
        """Name the cell for messages."""
        return f"{self.method}, fold {self.fold}, seed {self.seed}"


def claim(output: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Claim a folder for a comparison, unless it already belongs to it.

    Parameters
    ----------
    output
        The folder.
    identity
        Everything except its place that determines the bytes of a cell.
    overwrite
        Replace a comparison of another identity.

    Raises
    ------
    StaleOutputError
        If the folder holds a comparison of another identity, or other files.
    """
    found, identity = _found(output), _of_study(identity)
    if found == identity:
        clean_partials(output)
        return
    if found is not None and not overwrite:
        hint = "choose another --output, or use --overwrite"
        raise StaleOutputError(_other(output, found, identity), hint=hint)
    others = sorted(path.name for path in output.glob("[!.]*")) if found is None else []
    if others:
        problem = f"{str(output)!r} holds files unrelated to a comparison: {listed(others)}"
        raise StaleOutputError(problem, hint="choose another --output")
    _forget(output)
    write_json(output / STUDY, dict(identity))


def check_current(output: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to report on a folder that holds no comparison, or another one.

    Parameters
    ----------
    output
        The folder.
    identity
        Identity of the requested comparison.

    Raises
    ------
    MissingFileError
        If the folder holds no comparison.
    StaleOutputError
        If it holds one made from other inputs.
    """
    found, identity = _found(output), _of_study(identity)
    if found is None:
        problem = f"{str(output)!r} holds no comparison"
        raise MissingFileError(problem, hint="leave --report-only out to start one")
    if found != identity:
        hint = "give the inputs and settings that it was made with"
        raise StaleOutputError(_other(output, found, identity), hint=hint)


def check_plugins(output: Path, places: Iterable[Place], identity: Mapping[str, Any]) -> None:
    """Refuse to continue if cells were done with other versions of their plugins.

    Parameters
    ----------
    output
        The folder.
    places
        Requested cells.
    identity
        Identity of the comparison.

    Raises
    ------
    StaleOutputError
        If there are such cells: a table must not mix versions.
    """
    changed: dict[str, None] = {}
    places = list(places)
    n_other = 0
    for place in places:
        record, wanted = _record(place.within(output)), _stamp(place, identity)
        if record.get("study") != wanted["study"] or record.get(PLUGINS) == wanted.get(PLUGINS):
            continue
        n_other += 1
        told = differences(record.get(PLUGINS) or {}, wanted.get(PLUGINS) or {}, place.method)
        changed |= dict.fromkeys(told)
    if changed:
        problem = f"{n_other} of {counted(len(places), 'cell')} in {str(output)!r} were made with "
        problem += f"a plugin other than the installed one: {listed(changed, limit=8)}"
        hint = "choose another --output, or use --overwrite, which trains these cells again"
        raise StaleOutputError(problem, hint=hint)


def seal(folder: Path, place: Place, identity: Mapping[str, Any], cost: Cost) -> None:
    """Record that a cell is done, and what it holds; written last."""
    predictions = sha256_file(folder / PREDICTIONS)
    record = {**_stamp(place, identity), **asdict(cost), "predictions": predictions}
    write_json(folder / CELL, record)


def cost_of(folder: Path, place: Place, identity: Mapping[str, Any]) -> Cost | None:
    """Cost of a cell that is done; None if it is not done, damaged, or of other inputs."""
    try:
        record, predictions = _record(folder), sha256_file(folder / PREDICTIONS)
    except OSError:
        return None
    wanted = {**_stamp(place, identity), "predictions": predictions}
    cost = {name: record.pop(name) for name in Cost.__slots__ if name in record}
    return Cost(**cost) if record == wanted else None


def write_if_new(path: Path, text: str) -> None:
    """Write a text atomically, unless the file already holds it."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _larger(first: int | None, second: int | None) -> int | None:
    """The larger of two numbers, either of which may be unknown."""
    return max((one for one in (first, second) if one is not None), default=None)


def _record(folder: Path) -> dict[str, Any]:
    """Read the record of a finished cell; empty if there is none."""
    try:
        found = json.loads((folder / CELL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(place: Place, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Record of what a cell is made from."""
    own = identity.get(PLUGINS, {}).get(place.method)
    stamp = {**asdict(place), "study": sha256_json(_of_study(identity))}
    return {**stamp, PLUGINS: own} if own else stamp


def _of_study(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that all cells share: everything except plugins."""
    return {key: value for key, value in identity.items() if key != PLUGINS}


def _forget(output: Path) -> None:
    """Remove files that would mark cells of an earlier comparison as done; runs are retrained."""
    names = (CELL, PREDICTIONS, f"{PREDICTIONS}.json")
    stale = [path for name in names for path in output.glob(f"{CELLS}/*/*/{name}")]
    stale += output.glob(f"{LABEL_TABLES}/*.csv")
    for path in [*stale, *(output / name for name in (SPLITS, SLIDES, COHORT, FAILURES))]:
        path.unlink(missing_ok=True)


def _found(output: Path) -> dict[str, Any] | None:
    """Identity of the comparison in a folder; None if there is none."""
    try:
        stored = json.loads((output / STUDY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StaleOutputError(f"{str(output / STUDY)!r} is damaged: not valid JSON") from error
    return stored if isinstance(stored, dict) else {}


def _other(output: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Describe how the comparison in a folder differs from the requested one."""
    changed = listed(differences(found, identity), limit=8)
    return f"{str(output)!r} holds a comparison made from other inputs: {changed}"
