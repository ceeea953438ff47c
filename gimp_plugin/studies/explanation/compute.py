"""Compute the explanation of one case from its patches and genes."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gimp_plugin.config import ExplainConfig
from gimp_plugin.data.cases import Case
from gimp_plugin.explain.evidence import Evidence
from gimp_plugin.explain.faithfulness import (
    agreement,
    areas,
    evidence_of,
    gene_agreement,
    spearman,
    truth_aucs,
)
from gimp_plugin.explain.genes import GeneAttribution, attribute_genes, evidence_of_genes
from gimp_plugin.explain.patches import attribute, occlude, parts
from gimp_plugin.explain.regions import regions_of, step_of
from gimp_plugin.prediction.encoding import needed_halves
from gimp_plugin.prediction.halves import halves_of, modalities_of
from gimp_plugin.storage.bags import BagInfo, read_coords
from gimp_plugin.studies.explanation.halves import Halves, four_predictions, row_of
from gimp_plugin.studies.explanation.inputs import Inputs, Model
from gimp_plugin.studies.explanation.results import CaseResult
from gimp_plugin.studies.explanation.truth import read_truth

logger = logging.getLogger(__name__)

ATTENTION, ATTRIBUTION, OCCLUSION = "attention", "attribution", "occlusion"


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where the patches of a slide lie.

    Parameters
    ----------
    corners
        Top-left corners in level-0 pixels; None if the bag does not record them.
    side
        Side of a patch; the distance of patches if the bag does not record it.
    """

    corners: NDArray[np.int32] | None
    side: int


def place_of_bag(bag: BagInfo) -> Place:
    """Where the patches of a bag lie, as far as known; damaged coords raise an error."""
    if not bag.has_coords or bag.needs_mpp:
        return Place(None, 1)
    corners = read_coords(bag)
    return Place(corners, bag.patch_size_level0 or step_of(corners))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explainer:
    """Explains cases.

    Parameters
    ----------
    inputs
        Runs and cases.
    config
        Settings of the explanation.
    truth
        Folder with the true kind of the patches, if known.
    seed
        Seed of random orders.
    device
        Device of the models.
    """

    inputs: Inputs
    config: ExplainConfig
    truth: Path | None
    seed: int
    device: torch.device

    def of(self, case: Case) -> CaseResult:
        """Explain a case.

        Parameters
        ----------
        case
            The case.

        Returns
        -------
        The results of the case.
        """
        main, *others = self.inputs.models
        halves = Halves.of(main, case, self.device)
        evidence = four_predictions(main, halves, case)
        wanted = self.config.target
        own = evidence[row_of(case)]
        target = self.inputs.classes.index(wanted) if wanted else int(own.argmax())
        metrics: dict[str, float] = {}
        columns: dict[str, NDArray[np.float32]] = {}
        regions = np.empty(0, np.int64)
        if case.has_slides:
            full = float(own[target])
            columns, regions, metrics = self._patches(main, halves, case, target, full=full)
        genes, error = np.empty((0, 0), np.float32), np.empty(0)
        found = self._genes(main, halves, case)
        if found is not None:
            genes, error = found.values, found.error
            metrics |= self._faith_of_genes(main, halves, case, found, target)
        stable, theirs = self._stability(columns, genes, others, case, target)
        return CaseResult(
            embedding=halves.embedding(main.module),
            evidence=evidence,
            target=target,
            columns=columns,
            regions=regions,
            genes=genes,
            gene_error=error,
            other_genes=theirs,
            metrics=metrics | stable,
        )

    def _patches(
        self, model: Model, halves: Halves, case: Case, target: int, *, full: float
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64], dict[str, float]]:
        """Scores of the patches, their regions, and metrics of the scores."""
        evidence = halves.evidence(model)
        places = [place_of_bag(bag) for bag in case.bags]
        regions = regions_of(
            [
                bag.n_patches if place.corners is None else place.corners
                for bag, place in zip(case.bags, places, strict=True)
            ],
            n_regions=self.config.n_regions,
            sides=[place.side for place in places],
        )
        columns, metrics = self._scores(evidence, target)
        metrics = {"evidence": full, **metrics}
        if OCCLUSION not in self.config.skip:
            columns[OCCLUSION] = occlude(evidence, target, regions, full=full)
        known = {name: values for name, values in columns.items() if np.isfinite(values).all()}
        metrics |= agreement(known, regions)
        if "faithfulness" not in self.config.skip:
            rows = parts(evidence.n_patches, max_patches=self.config.max_patches)[0]
            kept = evidence_of(evidence, target)
            metrics |= areas(kept, known, rows, rng=self._rng(case))
        if self.truth is not None:
            truth = [
                read_truth(self.truth, bag, place.corners, side=place.side)
                for bag, place in zip(case.bags, places, strict=True)
            ]
            # Tissue that matters may support either class, so absolute values are tested too.
            signed = [name for name in (ATTRIBUTION, OCCLUSION) if name in known]
            sizes = {f"{name}_abs": np.abs(known[name]) for name in signed}
            metrics |= truth_aucs(known | sizes, np.concatenate(truth))
        return columns, regions, metrics

    def _scores(
        self, evidence: Evidence, target: int
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, float]]:
        """Attention and attribution, and the completeness error."""
        columns = {}
        if evidence.model.attends:
            columns[ATTENTION] = evidence.attention()
        if ATTRIBUTION in self.config.skip:
            return columns, {}
        found = attribute(
            evidence,
            target,
            n_steps=self.config.n_steps,
            max_patches=self.config.max_patches,
        )
        columns[ATTRIBUTION] = found.values
        metrics = {
            "baseline": found.baseline,
            "completeness_error": found.error,
        }
        return columns, metrics

    def _genes(
        self, model: Model, halves: Halves, case: Case, targets: tuple[int, ...] | None = None
    ) -> GeneAttribution | None:
        """Attribution of the genes to classes, by default all; None without genes."""
        row = model.genes_of(case)
        if row is None or "genes" in self.config.skip:
            return None
        return attribute_genes(
            model.module,
            row,
            halves.cls_img,
            temperature=model.record.temperature,
            n_steps=self.config.n_steps,
            reference=model.reference,
            targets=targets,
        )

    def _faith_of_genes(
        self, model: Model, halves: Halves, case: Case, found: GeneAttribution, target: int
    ) -> dict[str, float]:
        """Completeness error of the genes, and areas of their deletion and insertion curves."""
        metrics = {"genes_completeness_error": float(found.error[target])}
        row = model.genes_of(case)
        if row is not None and "faithfulness" not in self.config.skip:
            kept = evidence_of_genes(
                model.module, row, halves.cls_img, target, temperature=model.record.temperature
            )
            scores, rows = {"genes": found.values[target]}, np.arange(len(row))
            metrics |= areas(kept, scores, rows, rng=self._rng(case))
        return metrics

    def _stability(
        self,
        columns: dict[str, NDArray[np.float32]],
        genes: NDArray[np.float32],
        others: list[Model],
        case: Case,
        target: int,
    ) -> tuple[dict[str, float], NDArray[np.float32]]:
        """Mean agreement with other runs on the same class; their genes in our order."""
        found: dict[str, list[float]] = {}
        theirs = np.full((len(others), genes.shape[1]), np.nan, np.float32)
        for place, model in enumerate(others):
            if set(needed_halves(model.record)).difference(halves_of(modalities_of(case))):
                continue  # the case lacks a half that this run needs
            halves = Halves.of(model, case, self.device)
            if case.has_slides:
                scores, _ = self._scores(halves.evidence(model), target)
                for name, values in scores.items():
                    agreed = spearman(columns[name], values) if name in columns else None
                    if agreed is not None:
                        found.setdefault(f"stability_{name}", []).append(agreed)
            attributed = self._genes(model, halves, case, (target,))
            if attributed is not None and genes.size:
                theirs[place] = _in_order(attributed.values[0], model, self.inputs.main)
                for name, value in gene_agreement(genes[target], theirs[place]).items():
                    found.setdefault(f"stability_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}, theirs

    def _rng(self, case: Case) -> np.random.Generator:
        """Random generator of a case, independent of other cases."""
        return np.random.default_rng([self.seed, zlib.crc32(case.case_id.encode())])


def _in_order(values: NDArray[np.float32], model: Model, main: Model) -> NDArray[np.float32]:
    """Values of a run's genes in the order of the main run; NaN for genes that it does not read."""
    place = {row["id"]: number for number, row in enumerate(model.gene_rows)}
    known = np.append(values, np.float32(np.nan))
    return known[[place.get(row["id"], len(values)) for row in main.gene_rows]]
