"""Activations computed again: the same training in less memory."""

from __future__ import annotations

import pytest
import torch

from gimp_plugin.config import Runtime
from gimp_plugin.models.losses import masked_l1
from gimp_plugin.storage import runs
from gimp_plugin.training import finetune, pretrain
from tests.model_factory import FEATURE_DIM, draw, make_model, prefix, small_config
from tests.study_factory import make_study, tiny_config


def step(model, *, checkpointed, bf16=False):
    """Loss and gradients of a step with dropout, and the bytes that it keeps for the gradient."""
    valid = prefix([9, 31])
    masked = valid & (torch.arange(31) % 2 == 0)
    features = draw(2, 31, FEATURE_DIM, dtype=torch.float32)
    model.train().zero_grad()
    model.aggregator.checkpointed = checkpointed
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(5)
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        encoded = model.encode_slides(features, valid, masked=masked)
        loss = masked_l1(encoded.reconstructed, encoded.target) + encoded.cls_img.sin().sum()
    torch.manual_seed(6)  # what is drawn in between must not matter
    loss.backward()
    gradients = {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }
    return loss.detach(), gradients, sum(kept.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("preset", ["recommended", "paper"])
def test_loss_and_gradient_are_the_same_with_fewer_bytes_kept(preset, bf16):
    model = make_model(small_config(preset=preset, attention_dropout=0.4))

    kept = step(model, checkpointed=False, bf16=bf16)
    again = step(model, checkpointed=True, bf16=bf16)

    assert torch.equal(kept[0], again[0])
    assert kept[1].keys() == again[1].keys()
    assert all(torch.equal(kept[1][name], again[1][name]) for name in kept[1])
    assert again[2] < kept[2] / 2


def test_runs_are_the_same_bytes(tmp_path):
    study = make_study(tmp_path)

    for name, checkpointed in (("kept", False), ("again", True)):
        runtime = Runtime(checkpoint_activations=checkpointed)
        pre = tmp_path / f"pre_{name}"
        pretrain(study, tiny_config(), output=pre, runtime=runtime)
        finetune(study, tiny_config(), start=str(pre), output=tmp_path / name, runtime=runtime)

    for kept, again in (("pre_kept", "pre_again"), ("kept", "again")):
        for name in runs.RESULTS:
            assert (tmp_path / kept / name).read_bytes() == (tmp_path / again / name).read_bytes()


def test_a_finished_run_does_not_depend_on_it(tmp_path):
    study = make_study(tmp_path)
    pretrain(study, tiny_config(), output=tmp_path / "pre", runtime=Runtime())

    result = pretrain(
        study, tiny_config(), output=tmp_path / "pre",
        runtime=Runtime(checkpoint_activations=True),
    )  # fmt: skip

    assert result.outcome == "nothing to do"


@pytest.mark.parametrize("aggregator", ["abmil", "nystrom-reference"])
def test_an_aggregator_that_cannot_says_so(aggregator, tmp_path, caplog):
    config = tiny_config(model__aggregator=aggregator, pretrain__epochs=1, genes__epochs=1)

    pretrain(
        make_study(tmp_path), config, output=tmp_path / "pre",
        runtime=Runtime(checkpoint_activations=True),
    )  # fmt: skip

    assert f"--checkpoint-activations has no effect: {aggregator} keeps them all" in caplog.text
