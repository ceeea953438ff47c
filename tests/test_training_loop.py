"""The loop around the stages: schedule, weight decay, resuming in the middle of an epoch."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from gimp_plugin.assembly.seeding import seeded
from gimp_plugin.config import FinetuneConfig, Runtime
from gimp_plugin.storage import runs
from gimp_plugin.training import loop, pretrain
from gimp_plugin.training.optim import adamw, lr_factor
from gimp_plugin.training.progress import MODEL, load_moments, tensors_of, under
from gimp_plugin.training.stage import Stage
from tests.study_factory import make_study, tiny_config


def test_the_schedule_is_torchs_linear_warmup_and_cosine():
    n_steps, n_warmup = 40, 10
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (step + 1) / n_warmup)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps - n_warmup)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [warmup, cosine], [n_warmup])

    for step in range(n_steps):
        assert lr_factor(step, n_steps, 0.25) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


def test_only_matrices_decay():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 5), nn.LayerNorm(5)
            self.group_tokens = nn.Parameter(torch.zeros(2, 5))
            self.frozen = nn.Linear(5, 7).requires_grad_(requires_grad=False)

    part = Part()
    decaying, free = adamw(part, FinetuneConfig(weight_decay=0.3), lr=1e-3).param_groups

    assert decaying["weight_decay"] == 0.3
    assert [id(one) for one in decaying["params"]] == [id(part.linear.weight)]
    assert free["weight_decay"] == 0
    assert {id(one) for one in free["params"]} == {
        id(one) for one in (part.linear.bias, part.norm.weight, part.norm.bias, part.group_tokens)
    }


def test_a_seeded_block_repeats_and_leaves_the_generator_alone():
    torch.random.default_generator.manual_seed(5)
    expected = torch.rand(3)
    torch.random.default_generator.manual_seed(5)

    with seeded(0, "a", 1):
        first = torch.rand(3)
    with seeded(0, "a", 1):
        second = torch.rand(3)

    assert torch.equal(first, second)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("interrupted_at", [2, 5, 7, 9])
def test_a_run_that_stopped_at_any_step_ends_with_the_same_bytes(
    tmp_path, monkeypatch, interrupted_at
):
    study, config = make_study(tmp_path), tiny_config()
    pretrain(study, config, output=tmp_path / "whole", runtime=Runtime())
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)  # a checkpoint after every step
    steps, step = itertools.count(1), loop._Fit._step

    def interrupted(self, *arguments):
        if next(steps) == interrupted_at:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(loop._Fit, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(study, config, output=tmp_path / "cut", runtime=Runtime())
    monkeypatch.setattr(loop._Fit, "_step", step)
    pretrain(study, config, output=tmp_path / "cut", runtime=Runtime())

    for name in runs.RESULTS:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_stage_without_improvement_stops_early_and_keeps_its_best_epoch(tmp_path):
    config = tiny_config(genes__epochs=60, genes__patience=2, genes__lr=0.05, pretrain__epochs=1)

    result = pretrain(make_study(tmp_path), config, output=tmp_path / "run", runtime=Runtime())

    genes = result.metrics["stages"]["genes"]
    losses = [epoch["val_loss"] for epoch in genes["epochs"]]
    assert genes["chosen_epoch"] == losses.index(min(losses)) + 1
    assert len(losses) == genes["chosen_epoch"] + 2 < 60


class Halves(Stage):
    """A stage, the parts of whose model have a gradient in turn."""

    def __init__(self):
        nn.Module.__init__(self)
        with seeded(0, "weights"):
            self.model = nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3)])
        self.optimiser = adamw(self, FinetuneConfig(), lr=0.1)

    def steps(self, *numbers):
        for number in numbers:
            self.model[number % 2](torch.full((1, 2), number + 1.0)).sum().backward()
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return self


def test_parts_without_a_gradient_in_some_steps_go_on_as_they_were():
    whole = Halves().steps(*range(7))
    half, later = Halves().steps(*range(3)), Halves()
    tensors = {name: one.clone() for name, one in tensors_of(half, half.optimiser, best={}).items()}

    later.model.load_state_dict(under(MODEL, tensors))
    load_moments(later, later.optimiser, tensors, n_done=3)
    later.steps(*range(3, 7))

    for one, other in zip(whole.parameters(), later.parameters(), strict=True):
        assert torch.equal(one, other)
