"""Describe a path in a few facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.errors import BagError, MissingFileError, listed
from gimp_plugin.storage.bags import BagInfo, read_info, scan_bags, suffixes
from gimp_plugin.storage.predictions import read_predictions
from gimp_plugin.storage.runs import CONFIG, read_run

BAG_FACTS = (
    "target_mpp", "patch_size", "stride", "tissue_mask", "min_tissue", "slide_mpp_x", "vendor",
    "slide_width", "slide_height", keys.N_BAD_PATCHES, "precision", "untrained",
    "encoder_licence", "encoder_input_size", keys.EXTRACTION_SHA256,
)  # fmt: skip
"""Attributes of a bag that are shown, if it has them; our bags hold nothing about a patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Description of a path.

    Parameters
    ----------
    kind
        `bag`, `folder of bags`, `cohort`, `run`, `model bundle` or `predictions`.
    facts
        Names and plain values, in display order.
    """

    kind: str
    facts: dict[str, Any]


def describe(path: Path) -> Description:
    """Describe a path.

    Parameters
    ----------
    path
        A bag, a folder of bags, a cohort, a run folder or a table of predictions.

    Returns
    -------
    The description.

    Raises
    ------
    MissingFileError
        If there is nothing at the path.
    BagError
        If it is none of these.
    """
    if not path.exists():
        raise MissingFileError(f"there is nothing at {str(path)!r}", hint=_expected())
    if (path / CONFIG).is_file():
        return _run(path)
    if path.is_dir() and path.suffix != ".zarr":
        return Description(kind="folder of bags", facts=_folder(path))
    if path.suffix == ".h5ad":
        return Description(kind="cohort", facts=_cohort(path))
    if path.suffix == ".csv":
        return Description(kind="predictions", facts=_predictions(path))
    if path.suffix not in suffixes():
        raise BagError(f"{str(path)!r} is not a file that gimp reads or writes", hint=_expected())
    return Description(kind="bag", facts=_bag(read_info(path)))


def _expected() -> str:
    """Hint that lists what can be described."""
    bags = ", ".join(suffixes())
    return f"give a bag ({bags}), a folder of bags, a cohort (.h5ad), a run or predictions (.csv)"


def _bag(info: BagInfo) -> dict[str, Any]:
    """Facts of a bag."""
    told = {key: info.attributes[key] for key in BAG_FACTS if key in info.attributes}
    return {
        "slide_id": info.slide_id,
        "patches": info.n_patches,
        "features": info.dim,
        "encoder": info.encoder,
        "coordinates": info.has_coords,
        "layout": info.layout,
        "coordinates count": info.coords_unit if info.has_coords else "",
        "ours": info.attributes.get(keys.FORMAT) == keys.BAG_FORMAT,
    } | told


def _folder(path: Path) -> dict[str, Any]:
    """Facts of a folder of bags."""
    bags, errors = scan_bags(path)
    if not (bags or errors):
        problem = f"{str(path)!r} is not a run and holds no bags"
        raise BagError(problem, hint=_expected())
    counts = sorted(bag.n_patches for bag in bags)
    facts: dict[str, Any] = {
        "bags": len(bags),
        "patches": sum(counts),
        "patches a bag": f"{counts[0]} to {counts[-1]}, median {counts[len(counts) // 2]}"
        if counts
        else "",
        "layouts": _tally(bag.layout for bag in bags),
        "encoders": _tally(bag.encoder or "not told" for bag in bags),
        "features": _tally(str(bag.dim) for bag in bags),
        "configurations": len({bag.attributes.get(keys.EXTRACTION_SHA256) for bag in bags}),
    }
    return facts | {"not readable": listed(sorted(errors)) if errors else 0}


def _cohort(path: Path) -> dict[str, Any]:
    """Facts of a cohort."""
    cohort = read_cohort(path)
    return {
        "cases": len(cohort.case_ids),
        "genes": len(cohort.gene_ids),
        "first genes": listed(cohort.gene_ids[:3]),
        "scale": cohort.scale + (" (guessed)" if cohort.scale_guessed else ""),
        "columns of obs": ", ".join(map(str, cohort.obs.columns)),
    }


def _run(path: Path) -> Description:
    """Facts of a run, or of a bundle, which knows the number of cases but not their names."""
    run = read_run(path)
    model: Mapping[str, Any] = run.config.model.to_dict()
    parts: Mapping[str, int] = Counter(run.parts.values()) or run.metrics.get("n_cases", {})
    trained_on = {"trained on (ancestors included)": len(run.trained_on.get("train", ()))}
    facts = {
        "kind": run.kind,
        "modalities": model["modalities"],
        "classes": ", ".join(run.classes),
        "cases": ", ".join(f"{part} {parts[part]}" for part in sorted(parts)),
        **({} if run.bundled else trained_on),
        "genes": run.n_genes,
        "scale": run.scale,
        "features": run.feature_dim,
        "encoder": run.encoder,
        "dim": model["dim"],
        "temperature": run.temperature,
    }
    return Description(kind="model bundle" if run.bundled else "run", facts=facts)


def _predictions(path: Path) -> dict[str, Any]:
    """Facts of a table of predictions."""
    table = read_predictions(path)
    return {
        "cases": len(table.case_ids),
        "classes": ", ".join(table.classes),
        "splits": _tally(table.splits),
        "modalities": _tally(table.modalities),
        "without an answer": int((table.predicted < 0).sum()),
        "with label": int((table.labels >= 0).sum()),
    }


def _tally(values: Any) -> str:
    """Count each value, as text."""
    counts = Counter(values)
    return ", ".join(f"{value} ({counts[value]})" for value in sorted(counts))
