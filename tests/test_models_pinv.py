"""The pseudo-inverse against the package's, the true one, and its own gradient."""

from __future__ import annotations

import torch
from nystrom_attention.nystrom_attention import moore_penrose_iter_pinv

from gimp_plugin.models.pinv import apply_pinv
from tests.model_factory import draw


def test_each_bag_has_the_package_s_result_for_that_bag_alone():
    attention = draw(3, 2, 7, 7).mul(2).softmax(dim=-1)
    values = draw(3, 2, 7, 5, seed=1)

    applied = apply_pinv(attention, values, n_iterations=6)

    for bag in range(3):
        alone = moore_penrose_iter_pinv(attention[bag], 6) @ values[bag]
        torch.testing.assert_close(applied[bag], alone, rtol=0, atol=1e-12)


def test_many_iterations_invert():
    attention = (draw(1, 2, 5, 5) + 3 * torch.eye(5)).softmax(dim=-1)
    values = draw(1, 2, 5, 3, seed=1)

    applied = apply_pinv(attention, values, n_iterations=40)

    torch.testing.assert_close(attention @ applied, values, rtol=0, atol=1e-9)


def test_one_iteration_is_the_first_of_the_package():
    attention, values = draw(1, 2, 5, 5).softmax(dim=-1), draw(1, 2, 5, 3, seed=1)

    applied = apply_pinv(attention, values, n_iterations=1)

    expected = moore_penrose_iter_pinv(attention, 1) @ values
    torch.testing.assert_close(applied, expected, rtol=0, atol=1e-13)


def test_landmarks_that_do_not_exist_change_nothing():
    attention, values = draw(1, 3, 4, 4).softmax(dim=-1), draw(1, 3, 4, 5, seed=1)
    padded = torch.nn.functional.pad(attention, (0, 3, 0, 3))
    padded_values = torch.nn.functional.pad(values, (0, 0, 0, 3), value=9.0)

    applied = apply_pinv(padded, padded_values, n_iterations=6)

    alone = apply_pinv(attention, values, n_iterations=6)
    torch.testing.assert_close(applied[:, :, :4], alone, rtol=0, atol=1e-13)
    assert (applied[:, :, 4:] == 0).all()


def test_its_gradient_is_right():
    logits, values = draw(2, 2, 4, 4).requires_grad_(), draw(2, 2, 4, 3, seed=1).requires_grad_()

    def of_logits(logits, values):
        return apply_pinv(logits.softmax(dim=-1), values, n_iterations=3)

    assert torch.autograd.gradcheck(of_logits, (logits, values))
