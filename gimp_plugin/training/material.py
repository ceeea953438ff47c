"""The cases of a training and their genes, in the form that the stages read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin.data.cases import Case
from gimp_plugin.models.gimp import GimpModel

GENE_BATCH = 64
FEWEST_CASES = 3
"""A mean of fewer would reveal single cases, and a run may be shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Training and validation cases.

    Parameters
    ----------
    train, val
        The cases; each has a label, except training cases that may be unlabelled.
    genes
        Standardised expression by `Case.gene_row`, shape (row, gene), on the CPU; None without
        genes.
    classes
        Class names, sorted.
    feature_dim
        Length of the features of a patch; 0 without slides.
    """

    train: tuple[Case, ...]
    val: tuple[Case, ...]
    genes: Float[Tensor, "row gene"] | None
    classes: tuple[str, ...]
    feature_dim: int

    def only(
        self, *, slides: bool = False, genes: bool = False, labelled: bool = False
    ) -> Material:
        """Keep only the cases that have the given halves, or a label."""
        train, val = (
            tuple(
                case
                for case in cases
                if (case.has_slides or not slides)
                and (case.has_genes or not genes)
                and (case.has_label or not labelled)
            )
            for cases in (self.train, self.val)
        )
        return replace(self, train=train, val=val)

    def genes_of(self, cases: Sequence[Case]) -> Float[Tensor, "batch gene"]:
        """Genes of some cases; 0, the mean of the training cases, for a case without genes."""
        if self.genes is None:
            raise RuntimeError("this material has no genes")
        rows = torch.tensor([case.gene_row for case in cases])
        return torch.where(rows[:, None] >= 0, self.genes[rows.clamp(min=0)], 0.0)

    def class_means(self) -> NDArray[np.float32] | None:
        """Mean of the genes over the training cases of each class.

        Returns
        -------
        Standardised means, shape (class, gene); None without genes, or if a class has fewer than
        three training cases with genes.
        """
        known = [case for case in self.train if case.has_genes and case.has_label]
        labels = np.array([case.label for case in known], int)
        counts = np.bincount(labels, minlength=len(self.classes))
        if self.genes is None or counts.min() < FEWEST_CASES:
            return None
        rows, values = np.array([case.gene_row for case in known]), self.genes.numpy()
        means = [
            values[rows[labels == place]].mean(axis=0, dtype=np.float64)
            for place in range(len(counts))
        ]
        return np.stack(means).astype(np.float32)

    def class_weights(self, kind: str, *, device: torch.device) -> Float[Tensor, " class"] | None:
        """Weight of each class in the cross-entropy.

        Parameters
        ----------
        kind
            `none`, or `balanced`: n / (n_classes * n_c) by the training cases, as scikit-learn
            defines it; a class without training cases is weighted as if it had one.
        device
            Where the loss is computed.

        Returns
        -------
        One weight per class; None gives all cases the same weight.
        """
        if kind == "none":
            return None
        counts = torch.bincount(labels_of(self.train), minlength=len(self.classes))
        return (len(self.train) / (len(self.classes) * counts.clamp(min=1))).to(device)


def labels_of(cases: Sequence[Case]) -> Int[Tensor, " batch"]:
    """Class indices of some cases."""
    return torch.tensor([case.label for case in cases], dtype=torch.int64)


@torch.no_grad()
def encoded_genes(
    model: GimpModel, material: Material, cases: Sequence[Case], device: torch.device
) -> Float[Tensor, "batch dim"]:
    """Compute CLS_ge of some cases with a gene encoder that is not trained.

    Parameters
    ----------
    model
        A model with a gene encoder.
    material
        Holds the genes.
    cases
        The cases.
    device
        Device of the model.

    Returns
    -------
    One embedding per case.
    """
    was_training = model.gene_encoder.training
    model.gene_encoder.eval()
    parts = [
        model.encode_genes(material.genes_of(cases[start : start + GENE_BATCH]).to(device))
        for start in range(0, len(cases), GENE_BATCH)
    ]
    model.gene_encoder.train(was_training)
    return torch.cat(parts)
