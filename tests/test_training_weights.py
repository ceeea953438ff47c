"""Weights of the classes: scikit-learn's, in the cross-entropy of the stages that learn classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight

from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.storage import runs
from gimp_plugin.training import finetune
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.genes import GeneStage
from gimp_plugin.training.material import Material
from gimp_plugin.training.scores import classification_scores
from tests.study_factory import make_study, tiny_config

CPU = torch.device("cpu")
LABELS = ["a"] * 28 + ["b"] * 8 + ["c"] * 5


def material_of(labels):
    cases = tuple(Case(case_id=f"P{row}", label=label) for row, label in enumerate(labels))
    return Material(train=cases, val=(), genes=None, classes=("a", "b", "c"), feature_dim=0)


def naive_loss(logits, labels, weights):
    """Weighted mean of -log p of the true class."""
    total = norm = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = math.exp(row[label]) / sum(math.exp(value) for value in row)
        total -= float(weights[label]) * math.log(p)
        norm += float(weights[label])
    return total / norm


def test_balanced_weights_are_those_of_scikit_learn():
    labels = [0] * 7 + [1] * 2 + [2] * 4

    found = material_of(labels).class_weights("balanced", device=CPU)

    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)  # float32


def test_without_weights_there_are_none_and_an_absent_class_has_a_finite_one():
    assert material_of([0, 1, 2]).class_weights("none", device=CPU) is None
    assert material_of([0, 0, 1]).class_weights("balanced", device=CPU).tolist() == [0.5, 1.0, 1.0]


def test_the_validation_loss_is_weighted_as_well():
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.tensor([0, 0, 0, 1, 0, 2, 0]), torch.tensor([0.5, 2.0, 3.0])

    found = classification_scores(logits, labels, weights)

    assert found["val_loss"] == pytest.approx(naive_loss(logits, labels, weights), rel=1e-6)
    assert found["val_accuracy"] == classification_scores(logits, labels)["val_accuracy"]


@pytest.fixture
def losses(monkeypatch):
    """Loss of each step beside the naive weighted one, by stage."""
    seen = {"genes": [], "finetune": []}
    logits_of = {
        GeneStage: lambda stage, inputs: stage.model.gene_classifier(
            stage.model.encode_genes(inputs["genes"])
        ),
        FinetuneStage: lambda stage, inputs: stage._logits(
            stage.model.encode_at(inputs["features"], inputs["places"]).cls_img, inputs
        ),
    }

    def watch(kind):
        forward = kind.forward

        def watched(self, **inputs):
            terms = forward(self, **inputs)
            with torch.no_grad():
                logits = logits_of[kind](self, inputs)
            counts = np.bincount([case.label for case in self.material.train])
            weights = counts.sum() / (len(counts) * counts)
            naive = naive_loss(logits, inputs["labels"], weights)
            seen[self.name].append((terms["loss"].item(), naive))
            return terms

        monkeypatch.setattr(kind, "forward", watched)

    watch(GeneStage)
    watch(FinetuneStage)
    return seen


def still_config(**changes):
    """A model without dropout, whose logits are the same when they are computed again."""
    still = {"model__embedding_dropout": 0.0, "model__attention_dropout": 0.0}
    return tiny_config(**still, **changes)


@pytest.mark.parametrize("stage", ["genes", "finetune"])
def test_each_stage_is_weighted_by_its_own_key(tmp_path, losses, stage):
    study = make_study(tmp_path, labels=LABELS)
    config = still_config(**{f"{stage}__class_weights": "balanced"})

    finetune(study, config, start="genes", output=tmp_path / "f", runtime=Runtime())

    for name, pairs in losses.items():
        found, naive = map(np.array, zip(*pairs, strict=True))
        assert np.allclose(found, naive, rtol=1e-4) is (name == stage)


@pytest.mark.parametrize("stage", ["genes", "finetune"])
def test_the_epoch_of_a_weighted_stage_is_judged_by_the_weighted_loss(tmp_path, stage):
    study = make_study(tmp_path, labels=LABELS)
    runs_of = {}

    for kind in ("none", "balanced"):  # with a learning rate of next to 0 they are one model
        still = {f"{name}__lr": 1e-12 for name in ("genes", "finetune")}
        config = still_config(**still, **{f"{stage}__class_weights": kind})
        output = tmp_path / kind
        result = finetune(study, config, start="genes", output=output, runtime=Runtime())
        runs_of[kind] = result.metrics["stages"]

    for name in ("genes", "finetune"):
        first, second = (runs_of[kind][name]["epochs"][0] for kind in ("none", "balanced"))
        assert (abs(first["val_loss"] - second["val_loss"]) > 1e-3) is (name == stage)
        assert first["val_accuracy"] == second["val_accuracy"]


def test_equal_classes_have_equal_weights_and_the_same_model(tmp_path):
    study = make_study(tmp_path)  # 9 training cases of each class

    for name in ("none", "balanced"):
        changes = {f"{stage}__class_weights": name for stage in ("genes", "finetune")}
        config = tiny_config(**changes)
        finetune(study, config, start="genes", output=tmp_path / name, runtime=Runtime())

    first, second = (load_file(tmp_path / name / runs.MODEL) for name in ("none", "balanced"))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-4, atol=1e-5)
