"""Self-normalising layers (Klambauer et al. 2017, arXiv 1706.02515), also as a gene encoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from gimp_plugin.config import ModelConfig


class SelfNormalising(nn.Sequential):
    """Linear layers, each followed by SELU and alpha dropout.

    Standardised inputs keep mean 0 and variance 1 from layer to layer, because weights start with
    variance 1/n and biases at 0, as in the paper. Genes are standardised already.

    Parameters
    ----------
    sizes
        Number of inputs, then of outputs of each layer.
    dropout
        Rate of alpha dropout; .05 or .1 in the paper, .25 in the SNNs of PORPOISE and MCAT.
    """

    def __init__(self, sizes: Sequence[int], *, dropout: float) -> None:
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            linear = nn.Linear(n_in, n_out)
            nn.init.normal_(linear.weight, std=n_in**-0.5)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.SELU(), nn.AlphaDropout(dropout)]
        super().__init__(*layers)


class SNNEncoder(SelfNormalising):
    """Gene encoder `snn`: two self-normalising layers instead of GroupMSA.

    Parameters
    ----------
    n_genes
        N_ge.
    dim
        Hidden dimension d.
    dropout
        Rate of alpha dropout.
    """

    def __init__(self, n_genes: int, dim: int, *, dropout: float) -> None:
        super().__init__((n_genes, dim, dim), dropout=dropout)
        self.dim = dim

    @classmethod
    def from_config(cls, config: ModelConfig, *, n_genes: int) -> SNNEncoder:
        """Make the encoder that a configuration describes, for a number of genes."""
        return cls(n_genes, config.dim, dropout=config.embedding_dropout)
