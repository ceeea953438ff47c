"""Evidence of a model for a class, as a function of the patches or genes of a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin.models.gimp import GimpModel

Score = Callable[[Tensor], Tensor]
"""Maps inputs, shape (batch, ...), to the log-odds of each class, shape (batch, class)."""


def log_odds(logits: Float[Tensor, "batch class"]) -> Float[Tensor, "batch class"]:
    """Log-odds of each class against all others, log p - log(1 - p).

    This is the evidence for a class, in nats. Adding a constant to all logits, which changes no
    probability, changes no log-odds either. With two classes, one is the negative of the other.

    Parameters
    ----------
    logits
        Logits of two or more classes, already divided by the temperature.

    Returns
    -------
    The log-odds.

    Examples
    --------
    >>> log_odds(torch.tensor([[1.0, 3.0]])).tolist()
    [[-2.0, 2.0]]
    """
    others = [
        torch.cat([logits[:, :place], logits[:, place + 1 :]], dim=1).logsumexp(dim=1)
        for place in range(logits.shape[1])
    ]
    return logits - torch.stack(others, dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """A case whose patches can be removed or changed, while its genes stay the same.

    Parameters
    ----------
    model
        The model of a run, in evaluation mode.
    tokens
        Tokens of all patches, slide after slide, shape (patch, dim).
    sizes
        Number of patches of each slide.
    cls_ge
        CLS_ge, shape (1, dim); None for a case without genes.
    temperature
        Number by which logits are divided.
    """

    model: GimpModel
    tokens: Tensor
    sizes: tuple[int, ...]
    cls_ge: Tensor | None
    temperature: float = 1.0

    @property
    def n_patches(self) -> int:
        """Number of patches of all slides."""
        return len(self.tokens)

    def attention(self) -> NDArray[np.float32]:
        """Attention of CLS to each patch, mean over the heads.

        Returns
        -------
        One value per patch; 1 is an even share. It may be negative, because the pseudo-inverse of
        Nyström attention has negative values.
        """
        _, by_head = self.model.attend_tokens(iter([self.tokens]), self.sizes)
        return (by_head.float().mean(dim=0) * self.n_patches).cpu().numpy()

    def of_rows(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Log-odds of each class from some of the patches only.

        Parameters
        ----------
        rows
            Patches to keep, in increasing order; at least one.

        Returns
        -------
        One value per class.
        """
        tokens = self.tokens[torch.from_numpy(rows).to(self.tokens.device)]
        return self.of_bag(tokens, self.sizes_of(rows))

    @torch.no_grad()
    def of_bag(self, tokens: Tensor, sizes: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of each class from other patches, using little memory beyond their tokens."""
        cls_img = self.model.stream_tokens(iter([tokens]), sizes)
        return self._classified(cls_img)[0].double().cpu().numpy()

    def of_tokens(self, sizes: Sequence[int]) -> Score:
        """Give the log-odds as a differentiable function of tokens.

        Parameters
        ----------
        sizes
            Number of patches of each slide.

        Returns
        -------
        Function of tokens, shape (1, patch, dim), that returns log-odds.
        """

        def score(tokens: Tensor) -> Tensor:
            return self._classified(self.model.aggregate(tokens, sizes))

        return score

    def sizes_of(self, rows: NDArray[np.integer[Any]]) -> list[int]:
        """Count how many of the given patches lie on each slide."""
        ends = np.cumsum(self.sizes)
        counts = np.bincount(np.searchsorted(ends, rows, side="right"), minlength=len(self.sizes))
        return [int(count) for count in counts]

    def _classified(self, cls_img: Tensor) -> Tensor:
        """Log-odds of each class."""
        return classified(self.model, cls_img, self.cls_ge, temperature=self.temperature)


def classified(
    model: GimpModel,
    cls_img: Float[Tensor, "batch ..."] | None,
    cls_ge: Float[Tensor, "batch _"] | None,
    *,
    temperature: float,
) -> Float[Tensor, "batch class"]:
    """Compute log-odds from the halves; learned tokens replace halves that are None.

    Parameters
    ----------
    model
        The model.
    cls_img, cls_ge
        The halves; for a system, the patches and genes themselves.
    temperature
        Number by which logits are divided.

    Returns
    -------
    Log-odds of each class.
    """
    given = cls_ge if cls_img is None else cls_img
    device = next(model.parameters()).device
    n_cases = 1 if given is None else len(given)
    has = [torch.full((n_cases,), half is not None, device=device) for half in (cls_img, cls_ge)]
    return log_odds(model.classify(cls_img, cls_ge, *has) / temperature)


def integrated(
    score: Score,
    inputs: Float[Tensor, 1 * rest],
    baseline: Float[Tensor, 1 * rest],
    *,
    target: int,
    n_steps: int,
    at_a_time: int = 1,
) -> Float[Tensor, "*rest"]:
    """Integrated gradients (arXiv 1703.01365) by captum, a few points of the path at a time.

    Parameters
    ----------
    score
        The function to attribute.
    inputs, baseline
        End and start of the straight path.
    target
        Index of the class.
    n_steps
        Number of points on the path (Gauss-Legendre quadrature).
    at_a_time
        Number of points computed at once; memory grows with it, not with `n_steps`.

    Returns
    -------
    The attribution of each input. They sum to the score at the end minus that at the start, up to
    the error of the quadrature.
    """
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(score)
    found = method.attribute(
        inputs, baselines=baseline, target=target, n_steps=n_steps, internal_batch_size=at_a_time
    )
    return rearrange(found.detach(), "1 ... -> ...")
