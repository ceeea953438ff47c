"""Check of an aggregator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gimp_plugin.config import ModelConfig
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.layout import slides_of
from gimp_plugin.models.patches import Decoder, PatchEmbedding
from gimp_plugin.models.places import picked
from gimp_plugin.plugins.protocols import AggregatorMaker
from gimp_plugin.testing.claims import (
    LOUD,
    check_module,
    draw,
    made,
    require,
    require_close,
    require_shape,
    small_config,
)
from gimp_plugin.testing.parts import require_dim

LENGTHS = (11, 1, 6, 0)
"""Number of patches of each case; the last case has no slide."""
FEATURE_DIM = 5


class Bags:
    """A padded batch of bags, some of whose patches are wanted.

    Parameters
    ----------
    dim
        Hidden dimension d.
    """

    def __init__(self, dim: int) -> None:
        places = torch.arange(max(LENGTHS))
        self.tokens = draw(len(LENGTHS), len(places), dim, seed=3)
        self.valid = places < torch.tensor(LENGTHS)[:, None]
        self.slide = (places >= 4).long().expand(len(LENGTHS), -1)
        self.rows = self.valid & (places % 3 == 0)

    def call(self, aggregator: Any, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Aggregate the batch."""
        tokens = self.tokens if tokens is None else tokens
        return aggregator(tokens, self.valid, slide=self.slide, rows=self.rows)

    def alone(self, aggregator: Any, case: int) -> tuple[Tensor, Tensor]:
        """Aggregate one case without padding."""
        part = (slice(case, case + 1), slice(0, LENGTHS[case]))
        own = (self.tokens[part], self.valid[part])
        return aggregator(*own, slide=self.slide[part], rows=self.rows[part])


def check_aggregator(make: AggregatorMaker, *, config: ModelConfig | None = None) -> None:
    """Check an aggregator.

    Parameters
    ----------
    make
        The registered component, called with the configuration.
    config
        The model's configuration; a small model by default.
    """
    config = config or small_config()
    aggregator = made(lambda: make(config)).eval()
    require_dim(aggregator, config)
    bags = Bags(config.dim)
    before = bags.tokens.clone()
    with torch.no_grad():
        _check_shapes(aggregator, bags, config.dim)
        _check_batch(aggregator, bags)
    require(torch.equal(bags.tokens, before), "it changed its input")
    check_module(lambda: make(config), bags.call)
    _check_in_model(aggregator, config)


def _check_shapes(aggregator: Any, bags: Bags, dim: int) -> None:
    """Check the shapes of CLS_img and of the wanted patches."""
    found = bags.call(aggregator)
    pair = isinstance(found, tuple) and len(found) == 2
    require(pair, "it did not return a pair of CLS_img and the wanted patches")
    require_shape(found[0], (len(LENGTHS), dim), "CLS_img (the last case has no patch)")
    require_shape(found[1], (int(bags.rows.sum()), dim), "the wanted patches")
    cls_img, none = aggregator(bags.tokens, bags.valid, slide=bags.slide, rows=None)
    require_shape(none, (0, dim), "the wanted patches where none is wanted")
    require_close([cls_img], [found[0]], "CLS_img depends on which patches are wanted")


def _check_batch(aggregator: Any, bags: Bags) -> None:
    """Check that padding is not read, and that a case gives the same alone as in a batch."""
    together = bags.call(aggregator)
    loud = torch.where(bags.valid[..., None], bags.tokens, LOUD * draw(*bags.tokens.shape))
    require_close(bags.call(aggregator, loud), together, "it reads the padding")
    cases = [case for case, length in enumerate(LENGTHS) if length]
    alone = [bags.alone(aggregator, case) for case in cases]
    claim = "a case depends on its padding or on the other cases of the batch"
    require_close([torch.cat([one[0] for one in alone])], [together[0][cases]], claim)
    require_close([torch.cat([one[1] for one in alone])], [together[1]], claim)


@torch.no_grad()
def _check_in_model(aggregator: Any, config: ModelConfig) -> None:
    """Check that its `plan` and `stream`, if it has them, give the same as `forward`."""
    model = GimpModel(
        gene_encoder=None,
        patches=made(lambda: PatchEmbedding(FEATURE_DIM, config.dim)),
        aggregator=aggregator,
        decoder=made(lambda: Decoder(config.dim, FEATURE_DIM)),
        fusion=torch.nn.Identity(),
        head=torch.nn.Identity(),
    ).eval()
    sizes = (5, 8)
    features = draw(sum(sizes), FEATURE_DIM, seed=5)
    slide = slides_of(sizes, device=features.device)
    valid = torch.ones(1, len(features), dtype=torch.bool)
    for masked in (None, (torch.arange(len(features)) % 3 > 0)[None]):
        visible = None if masked is None else picked(~masked)
        tokens = model.patches(features[None], visible)
        plain, _ = aggregator(tokens, valid, slide=slide, rows=masked)
        planned = model.encode_slides(features[None], valid, slide=slide, masked=masked).cls_img
        require_close([planned], [plain], "CLS_img depends on what plan returns")
    plain, _ = aggregator(model.patches(features[None]), valid, slide=slide, rows=None)
    streamed = model.stream_slides(iter(torch.split(features, 3)), sizes)
    require_close([streamed], [plain], "stream and forward give a different CLS_img")
