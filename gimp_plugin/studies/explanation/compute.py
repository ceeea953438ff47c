"""Everything about one case, from its patches and genes."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin.config import ExplainConfig
from gimp_plugin.data.cases import Case
from gimp_plugin.data.chunks import load_chunks
from gimp_plugin.errors import BagError
from gimp_plugin.explain.evidence import Evidence, classified
from gimp_plugin.explain.faithfulness import agreement, areas, evidence_of, spearman, truth_aucs
from gimp_plugin.explain.genes import attribute_genes
from gimp_plugin.explain.patches import attribute, occlude, parts
from gimp_plugin.explain.regions import regions_of, step_of
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.prediction.encoding import needed_halves
from gimp_plugin.storage.bags import BagInfo, read_coords
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
        Top-left corners, level-0 pixels; None where the bag does not say.
    side
        Of a patch; their distance where the bag does not say.
    """

    corners: NDArray[np.int32] | None
    side: int


def place_of_bag(bag: BagInfo) -> Place:
    """Where the patches of a bag lie, as far as it can be known; damaged places are an error."""
    if not bag.has_coords:
        return Place(None, 1)
    try:
        corners = read_coords(bag)
    except BagError as error:
        if "microns per pixel" not in error.problem:
            raise
        return Place(None, 1)
    return Place(corners, bag.patch_size_level0 or step_of(corners))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explainer:
    """Explains cases.

    Parameters
    ----------
    inputs
        Runs and cases.
    config
        How.
    truth
        Folder with what the patches are, if known.
    seed
        Of random orders.
    device
        Where the models are.
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
        What was found.
        """
        main, *others = self.inputs.models
        halves = _Halves.of(main, case, self.device)
        evidence = four_predictions(main, halves, case)
        has = evidence[_row(case)]
        wanted = self.config.target
        target = self.inputs.classes.index(wanted) if wanted else int(has.argmax())
        metrics: dict[str, float] = {}
        columns: dict[str, NDArray[np.float32]] = {}
        regions = np.empty(0, np.int64)
        if case.has_slides:
            columns, regions, metrics = self._patches(main, halves, case, target)
            metrics |= self._stability(columns, others, case, target)
        genes, error = np.empty((0, 0), np.float32), np.empty(0)
        row = main.genes_of(case)
        if row is not None and "genes" not in self.config.skip:
            found = attribute_genes(
                main.module,
                row,
                halves.cls_img,
                temperature=main.record.temperature,
                n_steps=self.config.n_steps,
            )
            genes, error = found.values, found.error
        return CaseResult(
            embedding=_embedding(main.module, halves),
            evidence=evidence,
            target=target,
            columns=columns,
            regions=regions,
            genes=genes,
            gene_error=error,
            metrics=metrics,
        )

    def _patches(
        self, model: Model, halves: _Halves, case: Case, target: int
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64], dict[str, float]]:
        """Scores of the patches, their regions, and numbers about them."""
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
        columns, full, metrics = self._scores(evidence, target)
        if OCCLUSION not in self.config.skip:
            columns[OCCLUSION] = occlude(evidence, target, regions, full=full)
        known = {name: values for name, values in columns.items() if np.isfinite(values).all()}
        metrics |= agreement(known, regions)
        if "faithfulness" not in self.config.skip:
            rows = parts(evidence.n_patches, max_patches=self.config.max_patches)[0]
            rng = np.random.default_rng([self.seed, zlib.crc32(case.case_id.encode())])
            metrics |= areas(evidence_of(evidence, target), known, rows, rng=rng)
        if self.truth is not None:
            truth = [
                read_truth(self.truth, bag, place.corners, side=place.side)
                for bag, place in zip(case.bags, places, strict=True)
            ]
            # Tissue that matters may speak for either class: the size without its sign, too.
            signed = [name for name in (ATTRIBUTION, OCCLUSION) if name in known]
            sizes = {f"{name}_abs": np.abs(known[name]) for name in signed}
            metrics |= truth_aucs(known | sizes, np.concatenate(truth))
        return columns, regions, metrics

    def _scores(
        self, evidence: Evidence, target: int
    ) -> tuple[dict[str, NDArray[np.float32]], float, dict[str, float]]:
        """Attention and attribution, the evidence with all patches, and the completeness error."""
        columns = {}
        if evidence.model.attends:
            columns[ATTENTION] = evidence.attention()
        found = attribute(
            evidence,
            target,
            n_steps=self.config.n_steps,
            max_patches=self.config.max_patches,
        )
        columns[ATTRIBUTION] = found.values
        metrics = {
            "evidence": found.full,
            "baseline": found.baseline,
            "completeness_error": found.error,
        }
        return columns, found.full, metrics

    def _stability(
        self,
        columns: dict[str, NDArray[np.float32]],
        others: list[Model],
        case: Case,
        target: int,
    ) -> dict[str, float]:
        """Rank correlation with what other runs say of the same class, averaged over them."""
        found: dict[str, list[float]] = {}
        for model in others:
            halves = _Halves.of(model, case, self.device)
            theirs, _, _ = self._scores(halves.evidence(model), target)
            for name, values in theirs.items():
                value = spearman(columns[name], values) if name in columns else None
                if value is not None:
                    found.setdefault(f"stability_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Halves:
    """Both halves of a case as a run sees them; None for one that it lacks."""

    tokens: Tensor | None
    sizes: tuple[int, ...]
    cls_img: Tensor | None
    cls_ge: Tensor | None

    @classmethod
    def of(cls, model: Model, case: Case, device: torch.device) -> _Halves:
        """Read the patches of a case once, in the room that their tokens take."""
        tokens = cls_img = cls_ge = None
        sizes = tuple(bag.n_patches for bag in case.bags)
        genes = model.genes_of(case)
        with torch.no_grad():
            for _, chunks in load_chunks([case] if case.has_slides else [], device=device):
                tokens = _gathered(model.module, chunks, sum(sizes))
                cls_img = model.module.stream_tokens(iter([tokens]), sizes)
            if genes is not None:
                cls_ge = model.module.encode_genes(genes[None])
        return cls(tokens=tokens, sizes=sizes, cls_img=cls_img, cls_ge=cls_ge)

    def evidence(self, model: Model) -> Evidence:
        """The case as a function of its patches."""
        if self.tokens is None:
            raise RuntimeError("a case without slides has no patches")
        return Evidence(
            model=model.module,
            tokens=self.tokens,
            sizes=self.sizes,
            cls_ge=self.cls_ge,
            temperature=model.record.temperature,
        )


def four_predictions(model: Model, halves: _Halves, case: Case) -> NDArray[np.float64]:
    """Log-odds from both halves, slides, genes and none; NaN where that cannot be asked."""
    needed = needed_halves(model.record)
    n_classes = len(model.record.classes)
    rows = []
    for use_slides, use_genes in ((True, True), (True, False), (False, True), (False, False)):
        possible = (case.has_slides or not use_slides) and (case.has_genes or not use_genes)
        possible &= (use_slides or "slides" not in needed) and (use_genes or "genes" not in needed)
        if not possible:
            rows.append(np.full(n_classes, np.nan))
            continue
        cls_img = halves.cls_img if use_slides else None
        cls_ge = halves.cls_ge if use_genes else None
        with torch.no_grad():
            found = classified(model.module, cls_img, cls_ge, temperature=model.record.temperature)
        rows.append(found[0].double().cpu().numpy())
    return np.stack(rows)


def _row(case: Case) -> int:
    """Which of the four predictions is the case's own."""
    return {(True, True): 0, (True, False): 1, (False, True): 2}[case.has_slides, case.has_genes]


def _embedding(model: GimpModel, halves: _Halves) -> NDArray[np.float32]:
    """What the head reads."""
    given = halves.cls_ge if halves.cls_img is None else halves.cls_img
    has: list[Any] = [
        torch.tensor([half is not None], device=None if given is None else given.device)
        for half in (halves.cls_img, halves.cls_ge)
    ]
    with torch.no_grad():
        return model.fusion(halves.cls_img, halves.cls_ge, *has)[0].float().cpu().numpy()


def _gathered(model: GimpModel, chunks: Any, n_patches: int) -> Tensor:
    """Tokens of all patches in one tensor, filled as they come."""
    tokens: Tensor | None = None
    filled = 0
    for some in model.tokens(chunks):
        if tokens is None:
            tokens = some.new_empty(n_patches, some.shape[1])
        tokens[filled : filled + len(some)] = some
        filled += len(some)
    if tokens is None:
        raise RuntimeError("a case with slides has no patches")
    return tokens
