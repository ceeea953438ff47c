"""A tensor of a wrong shape or kind is caught where it comes in and where it goes out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float, Int, TypeCheckError, jaxtyped
from torch import Tensor

from tests.shape_checks import checked


@jaxtyped(typechecker=checked)
def scaled(
    features: Float[Tensor, "patch feature"],
    weights: Float[Tensor, " feature"],
    made: str = "right",
) -> Float[Tensor, "patch feature"]:
    found = {"right": features * weights, "turned": (features * weights).T, "whole": weights.int()}
    return found[made]


@jaxtyped(typechecker=checked)
@dataclass
class Pair:
    first: Float[Tensor, " patch"]
    second: Int[Tensor, " patch"]


def test_what_is_right_passes():
    assert scaled(torch.ones(3, 5), torch.ones(5)).shape == (3, 5)
    assert Pair(torch.ones(3), torch.ones(3).int()).first.sum() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3, 5, 1), torch.ones(5)), "parameter 'features'"),
        ((torch.ones(3, 5).int(), torch.ones(5)), "parameter 'features'"),
        ((torch.ones(3, 5), torch.ones(3)), "the parameters"),
        ((torch.ones(3, 5), torch.ones(5), 1), "parameter 'made'"),
        ((torch.ones(3, 5), torch.ones(5), "turned"), "the return value"),
        ((torch.ones(3, 5), torch.ones(5), "whole"), "the return value"),
    ],
)
def test_a_wrong_shape_or_kind_is_caught(arguments, message):
    with pytest.raises(TypeCheckError, match=message):
        scaled(*arguments)


@pytest.mark.parametrize("second", [torch.ones(2).int(), torch.ones(3)])
def test_fields_that_do_not_fit_together_are_caught(second):
    with pytest.raises(TypeCheckError):
        Pair(torch.ones(3), second)
