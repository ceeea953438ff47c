"""Convert bags one after the other; bags that fail are listed, and the others are done."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gimp_plugin.errors import (
    BagError,
    ConfigError,
    GimpError,
    ResourceError,
    SafetyError,
    StaleOutputError,
    counted,
    listed,
)
from gimp_plugin.storage.atomic import clean_partials
from gimp_plugin.storage.bag_exports import TARGETS, Export
from gimp_plugin.storage.bags import BagInfo, bag_paths, read_coords, read_info, suffixes
from gimp_plugin.storage.bags.info import READ
from gimp_plugin.storage.tables import FAILURES, Failure, read_csv, write_failures
from gimp_plugin.studies.conversion.record import read_record, write_record

logger = logging.getLogger(__name__)

STAGE = "convert"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Target of a conversion, and facts that the bags may lack.

    Parameters
    ----------
    to
        Name of a layout: one of `storage.bag_exports.TARGETS`.
    encoder
        Name of the encoder, for bags that do not name theirs.
    mpps
        Microns per pixel of slides by slide id, for bags with coords not in level-0 pixels.
    read_mpp
        Microns per pixel at which patches were read, for bags with coords in those pixels; 0 if
        unknown.
    """

    to: str
    encoder: str = ""
    mpps: Mapping[str, float] = field(default_factory=dict)
    read_mpp: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Outcome of a conversion, by slide id."""

    output: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {
            "output": str(self.output),
            "done": list(self.done),
            "kept": list(self.kept),
            "failed": {failure.item: failure.message for failure in self.failures},
        }


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One bag, its output file, and what that is made from."""

    info: BagInfo
    encoder: str
    name: str
    made_from: dict[str, Any]


def convert(features: Path, wanted: Wanted, *, output: Path, overwrite: bool = False) -> Conversion:
    """Convert bags of any readable layout to the layout of another tool, or to ours.

    Parameters
    ----------
    features
        One bag, or a folder of bags.
    wanted
        The target.
    output
        Folder to write.
    overwrite
        Whether files made from other inputs may be replaced.

    Returns
    -------
    The outcome of each bag.

    Raises
    ------
    StaleOutputError
        If an output file exists that was made from other inputs, or is not ours.
    BagError
        If there is no bag.
    SafetyError
        If a file is unsafe.
    """
    paths = _paths(features)
    items, failures = _look(paths, wanted)
    record = read_record(output)
    current = _current(items, record, output, overwrite=overwrite)
    todo = [item for item in items if item.name not in current]
    # Files to replace are first recorded as ours, but made from nothing, so that after a crash they
    # are not taken for current ones.
    replaced = {item.name for item in todo if (output / item.name).exists()}
    record |= {name: {} for name in replaced}
    record |= {item.name: item.made_from for item in todo if item.name not in replaced}
    if todo:
        clean_partials(output)
        write_record(output, record)
    done = []
    for item in todo:
        try:
            _write(item, wanted, output / item.name)
        except (SafetyError, ResourceError):
            raise
        except GimpError as error:
            failures.append(_failure(item.info.slide_id, error))
            continue
        record[item.name] = item.made_from
        done.append(item.info.slide_id)
    if done:
        write_record(output, record)
    _write_failures(output, failures, {*paths})
    kept = tuple(item.info.slide_id for item in items if item.name in current)
    failures.sort(key=lambda failure: failure.item)
    return Conversion(output=output, done=tuple(done), kept=kept, failures=tuple(failures))


def _paths(features: Path) -> dict[str, Path]:
    """Paths of one bag, or of the bags of a folder, by slide id."""
    if features.suffix in suffixes() and features.exists():
        return {features.name.removesuffix(features.suffix): features}
    paths = bag_paths(features)
    if not paths:
        kinds = ", ".join(suffixes())
        problem = f"{str(features)!r} holds no bag: no file that ends in {kinds}"
        raise BagError(problem, hint="give the folder of the feature files")
    return paths


def _look(paths: Mapping[str, Path], wanted: Wanted) -> tuple[list[_Item], list[Failure]]:
    """Read the metadata of every bag, and determine what its output is made from."""
    items, failures = [], []
    cautions = set()
    for slide_id, path in paths.items():
        try:
            info = read_info(path)
            items.append(_item(info, wanted))
        except SafetyError:
            raise
        except GimpError as error:
            failures.append(_failure(slide_id, error))
            continue
        cautions.add(info.caution)
    for caution in sorted(cautions - {""}):
        logger.warning("%s", caution)
    return items, failures


def _item(info: BagInfo, wanted: Wanted) -> _Item:
    """Plan one bag; refuse it if information that the target needs is missing."""
    target = TARGETS[wanted.to]
    if info.layout == wanted.to:
        problem = f"{str(info.path)!r} already has the layout {wanted.to!r}"
        raise BagError(problem, hint="copy it, or choose another --to")
    if wanted.encoder and info.encoder and wanted.encoder != info.encoder:
        problem = f"{str(info.path)!r} has features of {info.encoder!r}, not of {wanted.encoder!r}"
        raise BagError(problem, hint="leave --encoder out: the files say it themselves")
    encoder = info.encoder or wanted.encoder
    if target.needs_encoder and not encoder:
        problem = f"{str(info.path)!r} does not name its encoder, which {wanted.to!r} needs"
        raise BagError(problem, hint="give --encoder")
    if target.needs_coords and not info.has_coords:
        problem = f"{str(info.path)!r} does not say where its patches lie"
        raise BagError(problem, hint="only --to clam-pt works without that")
    made_from = {
        "to": wanted.to,
        "layout": info.layout,
        "source_sha256": info.file_sha256,
        "encoder": encoder,
        "mpp": wanted.mpps.get(info.slide_id, 0.0),
        "read_mpp": wanted.read_mpp if info.coords_unit == READ else 0.0,
    }
    name = str(Path(target.folder) / f"{info.slide_id}{target.suffix}")
    return _Item(info=info, encoder=encoder, name=name, made_from=made_from)


def _current(
    items: Sequence[_Item],
    record: Mapping[str, Mapping[str, Any]],
    output: Path,
    *,
    overwrite: bool,
) -> set[str]:
    """Names of output files that are current; refuse to overwrite other files."""
    for item in items:
        if (output / item.name).resolve() == item.info.path.resolve():
            problem = f"{str(item.info.path)!r} would be overwritten by its own copy"
            raise ConfigError(problem, hint="choose another --output")
    there = [item for item in items if (output / item.name).exists()]
    current = {item.name for item in there if record.get(item.name) == item.made_from}
    stale = [item for item in there if item.name not in current]
    folders = [str(output / item.name) for item in stale if not (output / item.name).is_file()]
    if folders:
        raise ConfigError(f"{folders[0]!r} is not a file", hint="choose another --output")
    strange = [str(output / item.name) for item in stale if item.name not in record]
    if strange:
        problem = f"{listed(strange)} already exists and was not written by gimp convert-features"
        raise StaleOutputError(problem, hint="choose another --output")
    if stale and not overwrite:
        names = listed(str(output / item.name) for item in stale)
        told = counted(len(stale), "file was", "files were")
        problem = f"{told} not made from these inputs: {names}"
        raise StaleOutputError(problem, hint="use --overwrite, or choose another --output")
    return current


def _write(item: _Item, wanted: Wanted, path: Path) -> None:
    """Write one bag."""
    target = TARGETS[wanted.to]
    mpp = wanted.mpps.get(item.info.slide_id, 0.0)
    coords = None
    if target.needs_coords:
        coords = read_coords(item.info, mpp=mpp or None, read_mpp=wanted.read_mpp or None)
    path.parent.mkdir(parents=True, exist_ok=True)
    export = Export(info=item.info, coords=coords, encoder=item.encoder, mpp=mpp)
    target.write(path, export)


def _failure(slide_id: str, error: GimpError) -> Failure:
    """Make a row of failures.csv."""
    return Failure(item=slide_id, stage=STAGE, error=type(error).__name__, message=str(error))


def _write_failures(output: Path, failures: Sequence[Failure], at_hand: set[str]) -> None:
    """Replace the rows of these bags in failures.csv, which is removed if no row is left."""
    path = output / FAILURES
    if not (failures or path.exists()):
        return
    others = [Failure(**row) for row in read_csv(path)] if path.exists() else []
    rows = sorted(
        [*failures, *(row for row in others if row.item not in at_hand)], key=lambda row: row.item
    )
    if rows != others:
        write_failures(output, rows)
