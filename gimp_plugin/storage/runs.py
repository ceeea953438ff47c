"""The run folder: the result of one training, enough to predict with it and to repeat it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.config import GimpConfig
from gimp_plugin.errors import CheckpointError, MissingFileError, StaleOutputError, listed
from gimp_plugin.storage.atomic import clean_partials, sha256_file, write_json
from gimp_plugin.storage.differences import differences
from gimp_plugin.storage.run_files import (
    CASES_SHAPE,
    METRICS_SHAPE,
    PROVENANCE_SHAPE,
    WENT,
    check_files,
    read_classes,
    read_config,
    read_object,
    read_provenance,
    read_rows,
    read_temperature,
    with_own_hash,
)

logger = logging.getLogger(__name__)

CONFIG = "config.json"
MODEL = "model.safetensors"
GENES = "genes.csv"
LABELS = "labels.json"
SPLITS = "splits.csv"
CASES = "cases.json"
METRICS = "metrics.json"
LOG = "log.jsonl"
PROVENANCE = "provenance.json"
CARD = "README.md"
CURVES = "curves.svg"
RESUME = "resume"
TENSORBOARD = "tensorboard"
BUNDLED = (MODEL, GENES, LABELS, METRICS, CONFIG)
RESULTS = (*BUNDLED, SPLITS, CASES)
AGAIN = "repeat the command that started it: it continues where it stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Record of a finished run; the weights stay on disk.

    Parameters
    ----------
    path
        The run folder.
    kind
        `pretrain` or `finetune`.
    config
        Settings of model and training.
    feature_dim, encoder
        Dimension and encoder that its bags must have; 0 and empty for a run without slides.
    scale
        Scale of the expression it was trained on; empty for a run without genes.
    classes
        Class names, sorted; of two, the second is the positive one.
    gene_rows
        Rows of `genes.csv`.
    parts
        Split of each case, as in `splits.csv`; none in a bundle.
    trained_on
        Cases by part (`train`, `val`) of this run and all its ancestors; none in a bundle.
    source
        Paths of its inputs, as the user gave them.
    extraction
        How its bags were made, as they state; empty if they do not.
    components
        Name, distribution and version of each component, by kind.
    metrics
        Content of `metrics.json`.
    temperature
        Number that logits are divided by before the softmax; 1 if none was fitted.
    bundled
        Whether it is a bundle: the model of a run without its cases, which it cannot recognise.
    """

    path: Path
    kind: str
    config: GimpConfig
    feature_dim: int
    encoder: str
    scale: str
    classes: tuple[str, ...]
    gene_rows: tuple[dict[str, str], ...]
    parts: dict[str, str]
    trained_on: dict[str, list[str]]
    source: dict[str, Any]
    extraction: dict[str, Any]
    components: dict[str, dict[str, str]]
    metrics: dict[str, Any]
    temperature: float
    bundled: bool = False

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return self.path / MODEL

    @property
    def n_genes(self) -> int:
        """Number of genes that the model reads; the table of a run on counts has others, too."""
        return sum(row.get("order", "") != "" for row in self.gene_rows)


def read_run(path: Path) -> RunRecord:
    """Read a finished run or a bundle, and check that its files are unchanged.

    Parameters
    ----------
    path
        The folder.

    Returns
    -------
    The record of the run.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    CheckpointError
        If it is not a run, is unfinished or damaged, or has a format that we cannot read.
    """
    _check_there(path)
    stored = read_object(path / CONFIG, {})
    _check_format(path, stored)
    provenance = _seal(path)
    bundled = stored[keys.FORMAT] == keys.BUNDLE_FORMAT
    check_files(path / PROVENANCE, provenance, BUNDLED if bundled else RESULTS)
    stored, config = read_config(path / CONFIG)
    metrics = read_object(path / METRICS, METRICS_SHAPE)
    trained_on: dict[str, list[str]] = {keys.TRAIN: [], keys.VAL: []}
    if not bundled:
        trained_on = read_object(path / CASES, CASES_SHAPE, needed=CASES_SHAPE)
    rows = [] if bundled else read_rows(path / SPLITS, "case_id", "split")
    return RunRecord(
        path=path,
        kind=stored["kind"],
        config=config,
        feature_dim=stored["feature_dim"],
        encoder=stored["encoder"],
        scale=stored["scale"],
        classes=read_classes(path / LABELS),
        gene_rows=tuple(read_rows(path / GENES)),
        parts={row["case_id"]: row["split"] for row in rows},
        trained_on=trained_on,
        source=provenance.get("source", {}),
        extraction=provenance.get("extraction", {}),
        components=provenance.get("components", {}),
        metrics=metrics,
        temperature=read_temperature(path / METRICS, metrics),
        bundled=bundled,
    )


def claim_run(path: Path, identity: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Make a folder the run with this identity, or find that it is already finished.

    Parameters
    ----------
    path
        The run folder; it is created if it is missing.
    identity
        Content of `config.json`: configuration and hashes of the inputs.
    overwrite
        Replace a run of another identity.

    Returns
    -------
    True if there is work to do, False if the run is complete and current.

    Raises
    ------
    StaleOutputError
        If the folder holds a run of another identity, or files that are not a run's.
    """
    own = {keys.FORMAT: keys.RUN_FORMAT, keys.FORMAT_VERSION: keys.RUN_FORMAT_VERSION}
    identity = {**own, **identity}
    found = _found(path)
    if found == identity:
        clean_partials(path)
        complete = _is_complete(path)
        if complete:  # left by a kill after the seal
            shutil.rmtree(path / RESUME, ignore_errors=True)
        return not complete
    if found is not None and not overwrite:
        changed = listed(differences(found, identity), limit=8)
        problem = f"{str(path)!r} holds a run made from other inputs: {changed}"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
    if found is None and path.is_dir() and any(_visible(path)):
        problem = f"{str(path)!r} holds files that are not a run's: {listed(_visible(path))}"
        raise StaleOutputError(problem, hint="choose another --output")
    remove_run(path)
    write_json(path / CONFIG, identity)
    return True


def remove_run(path: Path) -> None:
    """Remove the files that a run wrote, and nothing else."""
    shutil.rmtree(path / RESUME, ignore_errors=True)
    remove_events(path)
    # The configuration goes last, because without it the other files would not be a run's.
    others = [name for name in RESULTS if name != CONFIG]
    for name in (PROVENANCE, LOG, CARD, CURVES, "exclusions.csv", *others, CONFIG):
        (path / name).unlink(missing_ok=True)


def remove_events(path: Path) -> None:
    """Remove a run's files for TensorBoard; the folder is kept if it has other files."""
    for file in (path / TENSORBOARD).glob("events.out.tfevents.*"):
        file.unlink()
    with suppress(OSError):
        (path / TENSORBOARD).rmdir()


def seal_run(path: Path, provenance: Mapping[str, Any]) -> None:
    """Mark a run complete by writing the hashes of its files, and remove its checkpoints."""
    files = {name: sha256_file(path / name) for name in RESULTS}
    sealed = with_own_hash({**provenance, "files": files, "complete": True})
    write_json(path / PROVENANCE, sealed)
    shutil.rmtree(path / RESUME, ignore_errors=True)


def _check_there(path: Path) -> None:
    """Refuse a path that is not a folder, or a bundle whose files are being replaced."""
    if path.is_file():
        hint = (
            "give the folder that gimp pretrain or gimp finetune wrote; no other checkpoint is read"
        )
        raise CheckpointError(f"{str(path)!r} is a file, expected a run folder", hint=hint)
    if not path.is_dir():
        hint = "make it with gimp pretrain or gimp finetune, or give another; none is downloaded"
        raise MissingFileError(f"run {str(path)!r} does not exist", hint=hint)
    if (path / WENT).is_dir() and not (path / PROVENANCE).exists():
        problem = f"run {str(path)!r} is unfinished: gimp export was stopped there"
        raise CheckpointError(problem, hint=AGAIN)


def _seal(path: Path) -> dict[str, Any]:
    """Read the provenance that a run noted when it was finished."""
    if not (path / PROVENANCE).exists():
        problem = f"run {str(path)!r} is unfinished: it has no {PROVENANCE!r}"
        raise CheckpointError(problem, hint=AGAIN)
    provenance = read_provenance(path / PROVENANCE)
    if not provenance.get("complete"):
        raise CheckpointError(f"run {str(path)!r} is unfinished", hint=AGAIN)
    return provenance


def _found(path: Path) -> dict[str, Any] | None:
    """Identity of the run in a folder; None if there is none."""
    return read_object(path / CONFIG, {}) if (path / CONFIG).is_file() else None


def _is_complete(path: Path) -> bool:
    """Whether the run in a folder is finished and undamaged; warn of a damaged one."""
    if not (path / PROVENANCE).is_file():
        return False
    provenance = read_object(path / PROVENANCE, PROVENANCE_SHAPE)
    if not provenance.get("complete"):
        return False
    try:
        check_files(path / PROVENANCE, provenance, RESULTS)
    except CheckpointError as error:
        logger.warning("%s: making it again", error.problem)
        return False
    return True


def _check_format(path: Path, stored: Mapping[str, Any]) -> None:
    """Refuse anything but a run of a known format version."""
    kind, found = stored.get(keys.FORMAT), stored.get(keys.FORMAT_VERSION)
    if not isinstance(kind, str) or kind not in keys.RUN_FORMATS:
        raise CheckpointError(f"{str(path / CONFIG)!r} is not the configuration of a run")
    wanted = keys.RUN_FORMATS[kind]
    if found != wanted:
        problem = f"run {str(path)!r} has format version {found!r}, expected {wanted}"
        raise CheckpointError(problem, hint="install the version of gimp-plugin that wrote it")


def _visible(path: Path) -> Sequence[str]:
    """Names in a folder, without hidden ones."""
    return sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
