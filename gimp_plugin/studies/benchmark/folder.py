"""The folder of a comparison: whose it is, and what in it is done."""

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
    """What the training of one method on one fold and seed took.

    Parameters
    ----------
    n_parameters
        Trained numbers of the model.
    n_settings
        Settings that were trained, of which the validation cases chose one.
    seconds
        Time of all these trainings.
    chosen_epoch
        Epoch that a network was kept from, counted from 1.
    predict_seconds
        Time that the prediction took a slide, of a network that reads slides.
    peak_memory, peak_gpu_memory
        The most bytes that the process, and torch on its GPU, held during training and prediction;
        None where it is not known.
    """

    n_parameters: int
    n_settings: int
    seconds: float
    chosen_epoch: int | None = None
    predict_seconds: float | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None

    def __add__(self, other: Cost) -> Cost:
        """Give the cost of both, one after the other."""
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
        """Give the cost of work that took that much memory, too."""
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
        Which it is.
    """

    method: str
    fold: str
    seed: int

    def within(self, output: Path) -> Path:
        """Give the cell's folder; a method or fold of any name stays inside."""
        name = f"fold-{quote(self.fold, safe='')}-seed-{self.seed}"
        return output / CELLS / quote(self.method, safe="+=") / name

    def __str__(self) -> str:
        """Name it as messages do."""
        return f"{self.method}, fold {self.fold}, seed {self.seed}"


def claim(output: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make a folder that of a comparison, or find that it is.

    Parameters
    ----------
    output
        The folder.
    identity
        All that decides the bytes of a cell besides its place.
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
        problem = f"{str(output)!r} holds files that are not a comparison's: {listed(others)}"
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
        Of the comparison that is asked for.

    Raises
    ------
    MissingFileError
        If it holds none.
    StaleOutputError
        If it holds one made from other inputs.
    """
    found, identity = _found(output), _of_study(identity)
    if found is None:
        problem = f"{str(output)!r} holds no comparison"
        raise MissingFileError(problem, hint="start it: leave --report-only out")
    if found != identity:
        hint = "give the inputs and settings that it was made with"
        raise StaleOutputError(_other(output, found, identity), hint=hint)


def check_plugins(output: Path, places: Iterable[Place], identity: Mapping[str, Any]) -> None:
    """Refuse to go on beside cells that are done by other versions of their plugins.

    Parameters
    ----------
    output
        The folder.
    places
        Cells that are asked for.
    identity
        Of the comparison.

    Raises
    ------
    StaleOutputError
        If there are some: a table of both would be of neither.
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
        problem += f"another plugin than is installed: {listed(changed, limit=8)}"
        hint = "choose another --output, or use --overwrite, which trains these cells again"
        raise StaleOutputError(problem, hint=hint)


def seal(folder: Path, place: Place, identity: Mapping[str, Any], cost: Cost) -> None:
    """Note that a cell is done, and what it holds; written last."""
    predictions = sha256_file(folder / PREDICTIONS)
    record = {**_stamp(place, identity), **asdict(cost), "predictions": predictions}
    write_json(folder / CELL, record)


def cost_of(folder: Path, place: Place, identity: Mapping[str, Any]) -> Cost | None:
    """Cost of a cell that is done; None where it is not, or is damaged or another's."""
    try:
        record, predictions = _record(folder), sha256_file(folder / PREDICTIONS)
    except OSError:
        return None
    wanted = {**_stamp(place, identity), "predictions": predictions}
    cost = {name: record.pop(name) for name in Cost.__slots__ if name in record}
    return Cost(**cost) if record == wanted else None


def write_if_new(path: Path, text: str) -> None:
    """Write a text whole, unless it stands there already."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _larger(first: int | None, second: int | None) -> int | None:
    """The larger of two numbers of which either may be unknown."""
    return max((one for one in (first, second) if one is not None), default=None)


def _record(folder: Path) -> dict[str, Any]:
    """What a cell that is done says of itself; nothing where none is."""
    try:
        found = json.loads((folder / CELL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(place: Place, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell is made from."""
    own = identity.get(PLUGINS, {}).get(place.method)
    stamp = {**asdict(place), "study": sha256_json(_of_study(identity))}
    return {**stamp, PLUGINS: own} if own else stamp


def _of_study(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What all cells have in common: plugins are those of single methods."""
    return {key: value for key, value in identity.items() if key != PLUGINS}


def _forget(output: Path) -> None:
    """Remove what an earlier comparison would be taken for done by; its runs are trained over."""
    names = (CELL, PREDICTIONS, f"{PREDICTIONS}.json")
    stale = [path for name in names for path in output.glob(f"{CELLS}/*/*/{name}")]
    stale += output.glob(f"{LABEL_TABLES}/*.csv")
    for path in [*stale, *(output / name for name in (SPLITS, SLIDES, COHORT, FAILURES))]:
        path.unlink(missing_ok=True)


def _found(output: Path) -> dict[str, Any] | None:
    """Identity of the comparison in a folder; None when there is none."""
    try:
        stored = json.loads((output / STUDY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StaleOutputError(f"{str(output / STUDY)!r} is damaged: no valid JSON") from error
    return stored if isinstance(stored, dict) else {}


def _other(output: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """What is wrong with a folder that holds another comparison."""
    changed = listed(differences(found, identity), limit=8)
    return f"{str(output)!r} holds a comparison made from other inputs: {changed}"
