"""A step of the training asks the device for no value, so a GPU is never waited for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from gimp_plugin.config import Runtime
from gimp_plugin.data.batches import moved
from gimp_plugin.training import finetune, loop, pretrain
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.genes import GeneStage
from gimp_plugin.training.pretraining import PretrainStage
from tests.study_factory import make_bag, make_study, tiny_config

aten = torch.ops.aten
ASKING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal}
PICKING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class Waits(TorchDispatchMode):
    """Notes operations whose result, or its size, the host must know before it goes on."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        by_mask = packet in PICKING and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if packet in ASKING or by_mask:
            self.seen.add(str(function))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch):
    """What forward and backward of every stage's steps wait for."""
    mode = Waits()

    def watched(owner, name):
        original = getattr(owner, name)

        def call(self, *positional, **named):
            if not getattr(self, "training", True):  # validation gives numbers, once an epoch
                return original(self, *positional, **named)
            with mode:
                return original(self, *positional, **named)

        monkeypatch.setattr(owner, name, call)

    for stage in (GeneStage, PretrainStage, FinetuneStage):
        watched(stage, "forward")
    watched(Accelerator, "backward")
    return mode


@pytest.fixture
def study(tmp_path):
    """Cases with one slide and with two."""
    source, rng = make_study(tmp_path), np.random.default_rng(0)
    rows = [f"P{case:02d},P{case:02d}" for case in range(30)]
    for case in range(0, 30, 3):
        make_bag(source.features / f"Q{case:02d}.h5", 5, 0.5, rng=rng, encoder="untrained")
        rows.append(f"Q{case:02d},P{case:02d}")
    (tmp_path / "slides.csv").write_text("\n".join(["slide_id,case_id", *rows]))
    return replace(source, slide_table=tmp_path / "slides.csv")


@pytest.mark.parametrize(
    ("preset", "aggregator"),
    [("recommended", "nystrom"), ("paper", "nystrom"), ("recommended", "abmil")],
)
def test_no_step_asks_the_device_for_a_value(waits, study, tmp_path, preset, aggregator):
    changes = {"model__aggregator": aggregator, "finetune__class_weights": "balanced"}
    config = tiny_config(preset, pretrain__epochs=1, finetune__epochs=1, **changes)

    pretrain(study, config, output=tmp_path / "p", runtime=Runtime(device="cpu"))
    for start in (str(tmp_path / "p"), "none"):
        output = tmp_path / f"f-{start[:1]}"
        finetune(study, config, start=start, output=output, runtime=Runtime(device="cpu"))

    assert waits.seen == set()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_no_step_on_a_gpu_waits_for_it(monkeypatch, study, tmp_path):
    step = loop._Fit._step

    def strict(self, *arguments):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(self, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop._Fit, "_step", strict)
    config = tiny_config(pretrain__epochs=1, finetune__epochs=1)
    runtime = Runtime(device="cuda")
    pretrain(study, config, output=tmp_path / "p", runtime=runtime)
    start = str(tmp_path / "p")

    result = finetune(study, config, start=start, output=tmp_path / "f", runtime=runtime)

    assert result.outcome == "done"


ASKS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).all()),
    "int": lambda x: int(x.max()),
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: (x > 0).nonzero(),
    "put": lambda x: x.index_put((x > 0,), torch.zeros(())),
}


@pytest.mark.parametrize("ask", ASKS)
def test_whatever_asks_is_seen(ask):
    with Waits() as mode:
        ASKS[ask](torch.randn(7))

    assert mode.seen


def test_tensors_are_moved_wherever_they_stand():
    value = {"a": (torch.ones(3), None), "b": 5, "c": torch.zeros(2)}

    there = moved(value, torch.device("meta"))

    assert there["a"][0].device.type == there["c"].device.type == "meta"
    assert there["a"][1] is None
    assert there["b"] == 5
