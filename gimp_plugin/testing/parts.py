"""Checks of gene encoders, fusions and heads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gimp_plugin.config import ModelConfig
from gimp_plugin.keys import MODALITIES
from gimp_plugin.plugins.protocols import FusionMaker, GeneEncoderMaker, HeadMaker
from gimp_plugin.testing.claims import (
    LOUD,
    check_module,
    draw,
    made,
    require,
    require_close,
    require_logits,
    require_shape,
    small_config,
)

N_CASES = 3


def check_gene_encoder(make: GeneEncoderMaker, *, config: ModelConfig | None = None) -> None:
    """Check a gene encoder.

    Parameters
    ----------
    make
        The registered component, called with the configuration and `n_genes`.
    config
        The model's configuration; a small model by default.
    """
    config = config or small_config()
    for n_genes in (37, 1):
        genes, maker = draw(N_CASES, n_genes), partial(make, config, n_genes=n_genes)
        encoder = made(maker).eval()
        require_dim(encoder, config)
        _check_rows(encoder, genes, config.dim, what=f"CLS_ge of {n_genes} genes")
        check_module(maker, partial(_only, batch=genes))


def check_head(make: HeadMaker, *, config: ModelConfig | None = None) -> None:
    """Check a classification head.

    Parameters
    ----------
    make
        The registered component, called with the configuration, `in_dim` and `n_classes`.
    config
        The model's configuration; a small model by default.
    """
    config = config or small_config()
    embedding = draw(N_CASES, 13)
    for n_classes in (2, 5):
        maker = partial(make, config, in_dim=13, n_classes=n_classes)
        head, what = made(maker).eval(), f"logits of {n_classes} classes"
        _check_rows(head, embedding, n_classes, what=what)
        with torch.no_grad():
            require_logits(head(embedding), what)
        check_module(maker, partial(_only, batch=embedding))


def check_fusion(make: FusionMaker, *, config: ModelConfig | None = None) -> None:
    """Check a fusion, for models with both halves and with either half.

    Parameters
    ----------
    make
        The registered component, called with the configuration.
    config
        The model's configuration; a small model by default.
    """
    config = config or small_config()
    for modalities in MODALITIES:
        _check_fusion_of(make, replace(config, modalities=modalities))


def require_dim(module: Any, config: ModelConfig) -> None:
    """Refuse a module whose `dim` is not that of the configuration."""
    found = getattr(module, "dim", None)
    require(found == config.dim, f"its dim is {found!r}, the configuration says {config.dim}")


def _only(module: nn.Module, batch: Tensor) -> list[Tensor]:
    """Outputs of a module with a single output."""
    return [module(batch)]


def _check_rows(module: nn.Module, batch: Tensor, out_dim: int, *, what: str) -> None:
    """Check that each case has one row, independent of its batch, and that one case can train."""
    before = batch.clone()
    with torch.no_grad():
        together = module(batch)
        require(torch.equal(batch, before), "it changed its input")
        require_shape(together, (len(batch), out_dim), what)
        alone = torch.cat([module(batch[case : case + 1]) for case in range(len(batch))])
        require_close([together], [alone], f"{what} depends on the other cases of the batch")
        try:
            module.train()(batch[:1])
        except (RuntimeError, ValueError) as error:
            raise AssertionError(f"a batch of one case cannot be trained on: {error}") from error
        module.eval()


def _check_fusion_of(make: FusionMaker, config: ModelConfig) -> None:
    """Check the fusion of a model with the halves of the configuration."""
    has_slides = torch.tensor([True, True, False, True]) & config.has_slides
    has_genes = torch.tensor([True, False, True, True]) & config.has_genes
    cls_img = draw(4, config.dim, seed=1) if config.has_slides else None
    cls_ge = draw(4, config.dim, seed=2) if config.has_genes else None

    def call(fusion: Any) -> list[Tensor]:
        return [fusion(cls_img, cls_ge, has_slides, has_genes)]

    fusion = made(lambda: make(config)).eval()
    what = f"the embedding of a model of {config.modalities}"
    out_dim = getattr(fusion, "out_dim", None)
    require(isinstance(out_dim, int), f"its out_dim is {out_dim!r}, expected a whole number")
    with torch.no_grad():
        (together,) = call(fusion)
        require_shape(together, (4, int(out_dim or 0)), what)
        loud = fusion(_loud(cls_img, has_slides), _loud(cls_ge, has_genes), has_slides, has_genes)
        require_close([loud], [together], "it reads the placeholder of a half that a case lacks")
        alone = [
            fusion(
                _row(cls_img, has_slides, case),
                _row(cls_ge, has_genes, case),
                has_slides[case : case + 1],
                has_genes[case : case + 1],
            )
            for case in range(4)
        ]
    require_close([torch.cat(alone)], [together], f"{what} depends on the other cases of the batch")
    check_module(lambda: make(config), call)


def _loud(half: Tensor | None, has: Tensor) -> Tensor | None:
    """A half with large values in the rows of cases that lack it."""
    return None if half is None else torch.where(has[:, None], half, LOUD * draw(*half.shape))


def _row(half: Tensor | None, has: Tensor, case: int) -> Tensor | None:
    """The half of one case; None if the case lacks it."""
    return None if half is None or not has[case] else half[case : case + 1]
