"""Small models and ragged batches, all sizes odd and different."""

from __future__ import annotations

import torch
from hypothesis import settings
from torch import nn

from gimp_plugin.config import ModelConfig, load_preset
from gimp_plugin.models.abmil import GatedAttention
from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.models.fusion import Concat
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.group_msa import GroupMSA
from gimp_plugin.models.heads import linear, mlp
from gimp_plugin.models.patches import Decoder, PatchEmbedding
from gimp_plugin.models.reference import ReferenceAggregator

EXAMPLES = settings(max_examples=settings().max_examples * 2 // 5)
"""Fewer examples, since each runs through layers."""

SMALL = {"dim": 20, "n_heads": 5, "n_landmarks": 7, "convolution_taps": 9}
N_GENES, FEATURE_DIM, N_CLASSES = 779, 11, 3

AGGREGATORS = {
    "nystrom": NystromAggregator,
    "nystrom-reference": ReferenceAggregator,
    "abmil": GatedAttention,
}
HEADS = {"linear": linear, "mlp": mlp}


def small_config(preset: str = "recommended", **changes) -> ModelConfig:
    """Load a preset at a small size."""
    return load_preset(
        preset, {f"model.{name}": value for name, value in {**SMALL, **changes}.items()}
    ).model


def make_model(
    config: ModelConfig, *, n_genes: int = N_GENES, feature_dim: int = FEATURE_DIM
) -> GimpModel:
    """Build a whole model with reproducible weights."""
    torch.manual_seed(0)
    fusion = Concat.from_config(config)
    slides, genes = config.has_slides, config.has_genes
    return GimpModel(
        gene_encoder=GroupMSA.from_config(config, n_genes=n_genes) if genes else None,
        patches=PatchEmbedding(feature_dim, config.dim, norm=config.feature_norm)
        if slides
        else None,
        aggregator=AGGREGATORS[config.aggregator].from_config(config) if slides else None,
        decoder=Decoder(config.dim, feature_dim) if slides else None,
        fusion=fusion,
        head=HEADS[config.head](config, in_dim=fusion.out_dim, n_classes=N_CLASSES),
        gene_classifier=nn.Linear(config.dim, N_CLASSES) if genes else None,
    )


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Draw standard normal values, reproducible by the seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def prefix(lengths: list[int]) -> torch.Tensor:
    """Mask of valid patches for bags of these lengths, padded to the longest."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
