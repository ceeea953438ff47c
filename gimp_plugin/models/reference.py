"""The unmodified package nystrom-attention, one bag at a time: the reference for our own."""

from __future__ import annotations

from functools import partial

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from nystrom_attention import NystromAttention as PackageAttention
from torch import Tensor

from gimp_plugin.config import ModelConfig
from gimp_plugin.models.aggregator import NystromAggregator, NystromPlan
from gimp_plugin.models.nystrom import NystromAttention


class ReferenceAggregator(NystromAggregator):
    """The same layers computed by the unmodified package under vmap: a slow oracle for tests.

    It equals `NystromAggregator` with `segments="front_pad"` and `cls_convolution=True`, whatever
    the configuration says about these two; weights are interchangeable. Its convolution treats all
    slides of a case as one. It is torch's convolution, whose gradient is wrong on some CPUs for
    some lengths (see `convolve`).

    Parameters
    ----------
    config
        The model's configuration.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        del self.checkpointed  # the package keeps all activations

    def forward(
        self,
        tokens: Float[Tensor, "batch patch dim"],
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,  # noqa: ARG002  # not in the package
        rows: Bool[Tensor, "batch patch"] | None = None,
        plan: NystromPlan | None = None,  # noqa: ARG002  # for `NystromAggregator` only
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "rows dim"]]:
        """Aggregate the patches of each case, all bags of one length at a time."""
        x = torch.cat([self.cls_token.expand(len(tokens), 1, -1), tokens], dim=1)
        n_tokens = valid.sum(dim=1) + 1  # and CLS
        out = torch.zeros_like(x)
        for length in torch.unique(n_tokens).tolist():
            same = n_tokens == length
            out[same, :length] = self._aggregate(x[same, :length])
        out = self.norm(out)
        return out[:, 0], out[:, 1:][torch.zeros_like(valid) if rows is None else rows]

    def _aggregate(self, x: Float[Tensor, "batch patch dim"]) -> Float[Tensor, "batch patch dim"]:
        """Run the package on bags of one length, one bag per call."""
        # Without autocast, under which vmap leaves the convolution's weights behind.
        with torch.autocast(x.device.type, enabled=False):
            for layer in self.layers:
                alone = partial(_package_forward, layer.attention)
                x = x + torch.func.vmap(alone, randomness="different")(layer.norm(x))
        return x


def _package_forward(
    attention: NystromAttention, x: Float[Tensor, "patch dim"]
) -> Float[Tensor, "patch dim"]:
    """The package's own forward pass on one bag."""
    return PackageAttention.forward(attention, rearrange(x, "n d -> 1 n d"))[0]
