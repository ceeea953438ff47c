"""Hashes of all inputs of an explanation, so that a folder is never made from different inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gimp_plugin.config import ExplainConfig, Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import BagError
from gimp_plugin.storage.atomic import sha256_file, sha256_json
from gimp_plugin.storage.bags import BagInfo
from gimp_plugin.studies.explanation.beside import Beside
from gimp_plugin.studies.explanation.compute import Explainer, place_of_bag
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.truth import truth_path

DECISIVE = ("n_steps", "gene_reference", "n_regions", "max_patches", "target")
SHARED = ("models", "gene_references", "settings", "seed")
"""Entries that affect the result of every case."""
COMPUTED = ("genes", "attribution", "occlusion", "faithfulness")
"""Steps that, if skipped, change what is computed for a case, not only what is drawn."""


def made_from(
    inputs: Inputs,
    config: ExplainConfig,
    runtime: Runtime,
    beside: Beside,
    *,
    slides: Mapping[str, Path],
) -> dict[str, Any]:
    """Collect everything that determines an explanation: hashes and settings, no path.

    Parameters
    ----------
    inputs, config, runtime, beside
        What the explanation is made from.
    slides
        Slides by slide_id.

    Returns
    -------
    Plain values, for JSON.
    """
    settings = {name: getattr(config, name) for name in DECISIVE}
    settings["skip"] = sorted(set(config.skip).intersection(COMPUTED))
    drawn = {"top": config.top, "formats": sorted(config.formats)}
    drawn["skip"] = sorted(set(config.skip).difference(COMPUTED))
    truth = None
    if beside.truth is not None:
        paths = [
            truth_path(beside.truth, bag.slide_id) for case in inputs.cases for bag in case.bags
        ]
        truth = sha256_json([None if path is None else sha256_file(path) for path in paths])
    return {
        "models": [[one.sha256, one.record.temperature] for one in inputs.models],
        "gene_references": [[one.gene_reference, _sha256(one.reference)] for one in inputs.models],
        "inputs": inputs.study.fingerprint(),
        "places": sha256_json([_places(bag) for case in inputs.cases for bag in case.bags]),
        "cases": sha256_json([case.case_id for case in inputs.cases]),
        "settings": settings,
        "drawn": drawn,
        "seed": runtime.seed,
        "truth": truth,
        "gene_sets": None if beside.gene_sets is None else sha256_file(beside.gene_sets),
        "site_key": beside.site_key,
        "slides": sha256_json([[name, slides[name].stat().st_size] for name in sorted(slides)]),
        "excluded": sha256_json(
            [[one.case_id, one.slide_id, one.step, one.reason] for one in inputs.exclusions]
        ),
    }


def _places(bag: BagInfo) -> list[Any]:
    """Where the patches of a bag lie, which the hash of its features does not include."""
    try:
        place = place_of_bag(bag)
    except BagError:  # reported when its case is explained
        return [bag.slide_id, None, None, bag.slide_size]
    corners = None if place.corners is None else hashlib.sha256(place.corners.tobytes()).hexdigest()
    return [bag.slide_id, corners, place.side, bag.slide_size]


def case_inputs(explainer: Explainer, case: Case, common: str) -> str:
    """Hash everything that determines the result of one case.

    Parameters
    ----------
    explainer
        The explainer.
    case
        The case.
    common
        Hash of what all cases share.

    Returns
    -------
    The hash.
    """
    genes = explainer.inputs.main.genes_of(case)
    truth = None
    if explainer.truth is not None:
        paths = [truth_path(explainer.truth, bag.slide_id) for bag in case.bags]
        truth = [None if path is None else sha256_file(path) for path in paths]
    bags = [[bag.slide_id, bag.file_sha256] for bag in case.bags]
    return sha256_json([common, case.case_id, bags, _sha256(genes), truth])


def _sha256(values: Tensor | None) -> str | None:
    """Hash of the bytes of a tensor; None for None."""
    return None if values is None else hashlib.sha256(values.cpu().numpy().tobytes()).hexdigest()
