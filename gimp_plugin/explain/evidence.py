"""What a model's output says for a class, as a function of a case's patches or genes."""

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
"""From inputs, shape (batch, ...), to the log-odds of each class, shape (batch, class)."""


def log_odds(logits: Float[Tensor, "batch class"]) -> Float[Tensor, "batch class"]:
    """Log-odds of each class against all others, log p - log(1 - p).

    The evidence for a class in nats. What is added to all logits alike, which changes no
    probability, changes nothing here either; of two classes, one is the negative of the other.

    Parameters
    ----------
    logits
        Logits of two classes or more, already divided by the temperature.

    Returns
    -------
    Log-odds.

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
    """A case whose patches may be taken away or changed, while its genes stay.

    Parameters
    ----------
    model
        The model of a run, in evaluation mode.
    tokens
        Tokens of all patches, slide after slide, shape (patch, dim).
    sizes
        Patches of each slide.
    cls_ge
        CLS_ge, shape (1, dim); None for a case without genes.
    temperature
        What logits are divided by.
    """

    model: GimpModel
    tokens: Tensor
    sizes: tuple[int, ...]
    cls_ge: Tensor | None
    temperature: float = 1.0

    @property
    def n_patches(self) -> int:
        """Patches of all slides."""
        return len(self.tokens)

    def attention(self) -> NDArray[np.float32]:
        """Attention of CLS to each patch, mean over the heads.

        Returns
        -------
        One value a patch; 1 is an even share. It may be negative: the pseudo-inverse of Nyström
        attention has negative values.
        """
        _, by_head = self.model.attend_tokens(iter([self.tokens]), self.sizes)
        return (by_head.float().mean(dim=0) * self.n_patches).cpu().numpy()

    def of_rows(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Log-odds of each class from some of the patches only.

        Parameters
        ----------
        rows
            Patches that are left, in increasing order; at least one.

        Returns
        -------
        One value a class.
        """
        tokens = self.tokens[torch.from_numpy(rows).to(self.tokens.device)]
        return self.of_bag(tokens, self.sizes_of(rows))

    @torch.no_grad()
    def of_bag(self, tokens: Tensor, sizes: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of each class from other patches, in the memory that their tokens take."""
        cls_img = self.model.stream_tokens(iter([tokens]), sizes)
        return self._classified(cls_img)[0].double().cpu().numpy()

    def of_tokens(self, sizes: Sequence[int]) -> Score:
        """Log-odds as a function of the tokens of as many patches, with a gradient.

        Parameters
        ----------
        sizes
            Patches of each slide.

        Returns
        -------
        From tokens, shape (1, patch, dim), to log-odds.
        """

        def score(tokens: Tensor) -> Tensor:
            return self._classified(self.model.aggregate(tokens, sizes))

        return score

    def sizes_of(self, rows: NDArray[np.integer[Any]]) -> list[int]:
        """How many of some patches lie on each slide."""
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
    """Log-odds from the halves; learned tokens stand for those that are None.

    Parameters
    ----------
    model
        The model.
    cls_img, cls_ge
        The halves; patches and genes themselves for a system.
    temperature
        What logits are divided by.

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
    """Integrated gradients (arXiv 1703.01365) through captum, a few points of the path at a time.

    Parameters
    ----------
    score
        The function.
    inputs, baseline
        End and start of the straight path.
    target
        Class.
    n_steps
        Points of the path, by Gauss and Legendre's rule.
    at_a_time
        Points that are computed at once; the memory grows with it, not with `n_steps`.

    Returns
    -------
    The attribution of each input. Its sum is the score at the end less that at the start, but for
    the error of the rule.
    """
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(score)
    found = method.attribute(
        inputs, baselines=baseline, target=target, n_steps=n_steps, internal_batch_size=at_a_time
    )
    return rearrange(found.detach(), "1 ... -> ...")
