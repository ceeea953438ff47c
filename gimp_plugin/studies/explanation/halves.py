"""Both halves of a case as a run encodes them, and predictions from each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin.data.cases import Case
from gimp_plugin.data.chunks import load_chunks
from gimp_plugin.explain.evidence import Evidence, classified
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.system import SystemModel
from gimp_plugin.prediction.encoding import needed_halves
from gimp_plugin.studies.explanation.inputs import Model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Halves:
    """Both halves of a case; None for a half that it lacks.

    Parameters
    ----------
    tokens
        Tokens of all patches, slide after slide, shape (patch, dim).
    sizes
        Number of patches of each slide.
    cls_img, cls_ge
        Embedding of each half, shape (1, dim).
    """

    tokens: Tensor | None
    sizes: tuple[int, ...]
    cls_img: Tensor | None
    cls_ge: Tensor | None

    @classmethod
    def of(cls, model: Model, case: Case, device: torch.device) -> Halves:
        """Read the patches of a case once, using little memory beyond their tokens.

        Parameters
        ----------
        model
            The run.
        case
            The case.
        device
            Device of the model.

        Returns
        -------
        The halves.
        """
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
        """Evidence of the case as a function of its patches."""
        if self.tokens is None:
            raise RuntimeError("a case without slides has no patches")
        return Evidence(
            model=model.module,
            tokens=self.tokens,
            sizes=self.sizes,
            cls_ge=self.cls_ge,
            temperature=model.record.temperature,
        )

    def embedding(self, model: GimpModel) -> NDArray[np.float32]:
        """Vector that the head reads, shape (dim,); of size 0 for a system, which has none."""
        if isinstance(model, SystemModel):
            return np.empty(0, np.float32)
        given = self.cls_ge if self.cls_img is None else self.cls_img
        device = None if given is None else given.device
        has = [
            torch.tensor([half is not None], device=device) for half in (self.cls_img, self.cls_ge)
        ]
        with torch.no_grad():
            return model.fusion(self.cls_img, self.cls_ge, *has)[0].float().cpu().numpy()


def four_predictions(model: Model, halves: Halves, case: Case) -> NDArray[np.float64]:
    """Compute log-odds from both halves, slides only, genes only, and neither.

    Parameters
    ----------
    model
        The run.
    halves
        The halves of the case.
    case
        The case.

    Returns
    -------
    Shape (4, class); NaN if the case lacks a half that is used, or the run needs one that is not.
    """
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


def row_of(case: Case) -> int:
    """Index of the prediction, of the four, that uses the halves of the case."""
    return {(True, True): 0, (True, False): 1, (False, True): 2}[case.has_slides, case.has_genes]


def _gathered(model: GimpModel, chunks: Iterable[Tensor], n_patches: int) -> Tensor:
    """Tokens of all patches in one tensor, filled chunk by chunk."""
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
