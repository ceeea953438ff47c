"""Which patches of a batch go where: indices, computed once from the masks.

Picking rows with a mask on a GPU makes the host wait for their number. So the indices are computed
from the masks on the CPU, when the batch is made, and move to the GPU with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gimp_plugin.errors import PluginError, counted

Picked = tuple[Int[Tensor, " _"], Int[Tensor, " _"]]
"""Index of the case and of the patch of each picked row, in the order of a mask of both."""


class SlideEncoding(NamedTuple):
    """The slides of a batch of cases, encoded.

    Parameters
    ----------
    cls_img
        CLS_img of each case.
    reconstructed, target
        Decoded masked patches, case after case, and their features, normalised like those of
        visible patches; no rows if nothing was masked.
    """

    cls_img: Float[Tensor, "batch dim"]
    reconstructed: Float[Tensor, "rows feature"]
    target: Float[Tensor, "rows feature"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a model needs to know about a batch besides its features.

    Parameters
    ----------
    valid
        True for patches that exist.
    slide
        Slide of each patch; None if each case has one slide.
    rows
        True for patches to reconstruct; None for none.
    visible
        Index of the patches to embed; None for all.
    wanted
        Index of the patches to reconstruct; None for none.
    plan
        Result of the aggregator's `plan`, if it has one.
    """

    valid: Bool[Tensor, "batch patch"]
    slide: Int[Tensor, "batch patch"] | None
    rows: Bool[Tensor, "batch patch"] | None
    visible: Picked | None
    wanted: Picked | None
    plan: Any

    def check_wanted(self, found: Float[Tensor, "rows dim"], aggregator: nn.Module) -> None:
        """Refuse a wrong number of patches: a single patch would be broadcast without an error.

        Parameters
        ----------
        found
            Patches that the aggregator gave besides CLS_img.
        aggregator
            The aggregator, to be named in the message.

        Raises
        ------
        PluginError
            If there are more or fewer patches than are to be reconstructed.
        """
        n_wanted = 0 if self.wanted is None else len(self.wanted[0])
        if len(found) != n_wanted:
            gave = counted(len(found), "patch", "patches")
            problem = f"the aggregator {type(aggregator).__name__} gave {gave} besides CLS_img, "
            hint = "give those of `rows`, of all cases one after the other"
            raise PluginError(f"{problem}{n_wanted} were wanted", hint=hint)


def picked(mask: Bool[Tensor, "batch patch"]) -> Picked:
    """Index of the patches that a mask picks."""
    case, patch = mask.nonzero(as_tuple=True)
    return case, patch
