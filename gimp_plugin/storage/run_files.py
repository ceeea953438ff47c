"""Read and check the files of a run or a bundle, which may come from somebody else."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gimp_plugin.config import CohortSource, ExtractionConfig, GimpConfig
from gimp_plugin.config.checks import Settings
from gimp_plugin.config.sources import PORTABLE
from gimp_plugin.config.tissue import GIVEN
from gimp_plugin.errors import CheckpointError, ConfigError
from gimp_plugin.storage.atomic import sha256_file, sha256_json
from gimp_plugin.storage.tables import read_csv

COMES, WENT = Path(".gimp-export/new"), Path(".gimp-export/old")
"""Subfolders of a bundle being written, for its new files and its old ones."""
OWN_HASH = "sha256"
"""Key of `provenance.json` for the hash of its other keys."""
NUMBER = (int, float)
LARGEST_DIM = 1_000_000
CONFIG_SHAPE: dict[Any, Any] = {
    "kind": str, "config": {...: {}}, "feature_dim": int, "encoder": str, "scale": str,
}  # fmt: skip
PROVENANCE_SHAPE: dict[Any, Any] = {
    "files": {...: str},
    "source": {...: (str, type(None))},
    "scale_guessed": bool,
    "extraction": {},
    "components": {...: {...: str}},
}
METRICS_SHAPE: dict[Any, Any] = {
    "stages": {...: {"chosen_epoch": int, "epochs": [{...: NUMBER}], "calibration": {}}},
    "n_cases": {...: int},
    "n_parameters": int,
}
CASES_SHAPE: dict[Any, Any] = {"train": [str], "val": [str]}
SOURCE_CHOICES = ("missing", "slide_samples", "slide_kind")
WORDS = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number",
         bool: "true or false"}  # fmt: skip


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The content.

    Raises
    ------
    CheckpointError
        If it is missing or not JSON.
    """
    if path.exists() and not path.is_file():  # reading a pipe would hang
        raise CheckpointError(f"{str(path)!r} is damaged: it is not a file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        problem = f"{str(path.parent)!r} is not a run: it has no {path.name!r}"
        raise CheckpointError(problem) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged: it is not valid JSON") from error


def read_object(path: Path, shape: Mapping[Any, Any], *, needed: Iterable[str] = ()) -> Any:
    """Read a JSON file that must hold an object of a given shape.

    Parameters
    ----------
    path
        The file.
    shape
        As for `check_shape`.
    needed
        Required keys.

    Returns
    -------
    The object.

    Raises
    ------
    CheckpointError
        If it is missing, not such an object, or a value in it is of another kind.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} is damaged: it is not a JSON object")
    check_shape(path, content, shape)
    for name in needed:
        if name not in content:
            raise CheckpointError(f"{str(path)!r} is damaged: it lacks {name!r}")
    return content


def check_shape(path: Path, found: Any, shape: Any, place: str = "") -> None:
    """Refuse a JSON value of another kind than expected.

    Parameters
    ----------
    path
        The file.
    found
        The value.
    shape
        A type or several; a list of one shape, for a list of such values; or a mapping of keys to
        shapes, for an object whose values under these keys, if present, have these shapes, with
        `...` for all other keys.
    place
        Place in the file, for the message.

    Raises
    ------
    CheckpointError
        If the value is of another kind.
    """
    kinds = (
        shape if isinstance(shape, tuple) else (shape if isinstance(shape, type) else type(shape),)
    )
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        wanted = " or ".join(WORDS[kind] for kind in kinds if kind in WORDS)
        problem = f"{str(path)!r} is damaged: {place!r} is {found!r:.60}, expected {wanted}"
        raise CheckpointError(problem)
    if isinstance(shape, dict):
        for key, value in found.items():
            own = shape.get(key, shape.get(...))
            if own is not None:
                check_shape(path, value, own, f"{place}.{key}".removeprefix("."))
    elif isinstance(shape, list):
        for number, value in enumerate(found):
            check_shape(path, value, shape[0], f"{place}[{number}]")


def read_config(path: Path) -> tuple[dict[str, Any], GimpConfig]:
    """Read the `config.json` of a finished run or a bundle, and the settings in it.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The object, and its `config`.

    Raises
    ------
    CheckpointError
        If it is damaged, or has unknown settings.
    """
    stored = read_object(path, CONFIG_SHAPE, needed=CONFIG_SHAPE)
    if not 0 <= stored["feature_dim"] <= LARGEST_DIM:
        problem = f"{str(path)!r} is damaged: 'feature_dim' is {stored['feature_dim']}"
        raise CheckpointError(f"{problem}, expected 0 to {LARGEST_DIM}")
    try:
        return stored, GimpConfig.from_dict(stored["config"])
    except ConfigError as error:
        raise CheckpointError(f"{str(path)!r} cannot be understood: {error}") from error


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the class names, each once, of a `labels.json`."""
    classes = read_json(path)
    check_shape(path, classes, [str], "classes")
    if len(set(classes)) != len(classes):
        raise CheckpointError(f"{str(path)!r} is damaged: it names a class twice")
    return tuple(classes)


def read_rows(path: Path, *needed: str) -> list[dict[str, str]]:
    """Read the rows of a run's table, which must have the needed columns."""
    try:
        rows = read_csv(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"{str(path)!r} is damaged: it is not a table") from error
    lacking = [name for name in needed if rows and name not in rows[0]]
    if lacking:
        raise CheckpointError(f"{str(path)!r} is damaged: it lacks the column {lacking[0]!r}")
    return rows


def read_temperature(path: Path, metrics: Mapping[str, Any]) -> float:
    """Return the temperature that fine-tuning fitted; 1 for a run without one.

    Parameters
    ----------
    path
        The `metrics.json`, for the message.
    metrics
        Its content.

    Returns
    -------
    The temperature.

    Raises
    ------
    CheckpointError
        If it is not above 0.
    """
    calibration = metrics.get("stages", {}).get("finetune", {}).get("calibration", {})
    found = calibration.get("temperature", 1.0)
    if not isinstance(found, NUMBER) or not 0 < found < math.inf:
        raise CheckpointError(f"{str(path)!r}: the temperature is {found!r}, expected more than 0")
    return float(found)


def read_provenance(path: Path) -> dict[str, Any]:
    """Read a `provenance.json`, and check the fields that are used.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The object.

    Raises
    ------
    CheckpointError
        If it is damaged; the message names a wrong field.
    """
    found: dict[str, Any] = read_object(path, PROVENANCE_SHAPE)
    extraction, source = found.get("extraction", {}), found.get("source", {})
    made = {key: value for key, value in extraction.items() if key in PORTABLE}
    if made.get("tissue") == GIVEN:  # which needs a folder that is not noted
        del made["tissue"]
    _check_settings(path, "extraction", ExtractionConfig, made)
    chosen = {key: source[key] for key in SOURCE_CHOICES if source.get(key) is not None}
    _check_settings(path, "source", CohortSource, chosen)
    if OWN_HASH in found and found != with_own_hash(found):
        problem = f"{str(path)!r} is damaged: its content does not match its {OWN_HASH!r}"
        raise CheckpointError(problem, hint="use an undamaged copy")
    return found


def with_own_hash(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a `provenance.json` with the hash of all its other content."""
    others = {key: value for key, value in provenance.items() if key != OWN_HASH}
    return {**others, OWN_HASH: sha256_json(others)}


def check_files(provenance: Path, noted: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Compare the files of a run with the hashes noted when it was finished.

    Parameters
    ----------
    provenance
        The file that holds the hashes.
    noted
        Its content.
    wanted
        Names of the files.

    Raises
    ------
    CheckpointError
        If a file is missing or has changed.
    """
    hashes, run = noted.get("files", {}), provenance.parent
    for name in wanted:
        file = run / name
        if name not in hashes:
            raise CheckpointError(f"{str(provenance)!r} is damaged: it lacks hashes of files")
        if not file.is_file():
            raise CheckpointError(f"run {str(run)!r} lacks {name!r}")
        if sha256_file(file) != hashes[name]:
            raise CheckpointError(f"{str(file)!r} is damaged: its sha256 is not the recorded one")


def _check_settings(path: Path, name: str, kind: type[Settings], values: Mapping[str, Any]) -> None:
    """Refuse invalid settings."""
    try:
        kind.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(f"{str(path)!r} is damaged: {name}: {error.problem}") from error
