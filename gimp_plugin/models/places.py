"""Which patches of a batch go where: worked out once from its masks, as indices.

A mask that picks rows makes a GPU tell the host how many there are, and the host waits. So indices
are worked out where the masks are, on the CPU when the batch is made, and move with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gimp_plugin.errors import PluginError, counted

Picked = tuple[Int[Tensor, " _"], Int[Tensor, " _"]]
"""Case and patch of each picked row, as a mask of both would pick them."""


class SlideEncoding(NamedTuple):
    """What the slides of a batch of cases give.

    Parameters
    ----------
    cls_img
        CLS_img of each case.
    reconstructed, target
        Decoded masked patches of all cases one after the other, and their features as the model
        sees visible ones; no rows where nothing was masked.
    """

    cls_img: Float[Tensor, "batch dim"]
    reconstructed: Float[Tensor, "rows feature"]
    target: Float[Tensor, "rows feature"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a model needs to know of a batch besides its features.

    Parameters
    ----------
    valid
        True for patches that exist.
    slide
        Slide of each patch; None where all are of one.
    rows
        True for patches that are reconstructed; None where none is.
    visible
        Patches that are embedded; None for all.
    wanted
        Patches that are reconstructed, as an index.
    plan
        What the aggregator makes of `valid`, `slide` and `rows`, if it can do so in advance.
    """

    valid: Bool[Tensor, "batch patch"]
    slide: Int[Tensor, "batch patch"] | None
    rows: Bool[Tensor, "batch patch"] | None
    visible: Picked | None
    wanted: Picked | None
    plan: Any

    def check_wanted(self, found: Float[Tensor, "rows dim"], aggregator: nn.Module) -> None:
        """Refuse more or fewer patches than are reconstructed: one would be taken for each of them.

        Parameters
        ----------
        found
            What the aggregator gave besides CLS_img.
        aggregator
            Whose name a message gives.

        Raises
        ------
        PluginError
            If there are.
        """
        n_wanted = 0 if self.wanted is None else len(self.wanted[0])
        if len(found) != n_wanted:
            gave = counted(len(found), "patch", "patches")
            problem = f"the aggregator {type(aggregator).__name__} gave {gave} besides CLS_img, "
            hint = "give those of `rows`, of all cases one after the other"
            raise PluginError(f"{problem}{n_wanted} were wanted", hint=hint)


def picked(mask: Bool[Tensor, "batch patch"]) -> Picked:
    """Index of what a mask picks."""
    case, patch = mask.nonzero(as_tuple=True)
    return case, patch
