"""`gimp benchmark --epochs`: as many epochs in all for every network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gimp_plugin.config import load_preset
from gimp_plugin.studies.benchmark.budget import shared
from tests.benchmark_factory import benchmark, epochs
from tests.study_factory import make_study

pytestmark = pytest.mark.timeout(300)
N_CASES = 16
BOTH = {"model.modalities": "slides+genes"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    return make_study(folder, n_cases=N_CASES, n_patches=(3, 9), obs={"fold": fold})


@pytest.mark.parametrize("total", [3, 4, 7, 60, 221])
@pytest.mark.parametrize(
    ("start", "changes", "stages"),
    [
        ("pretrain", BOTH, ("genes", "pretrain", "finetune")),
        ("pretrain", {"model.modalities": "slides"}, ("pretrain", "finetune")),
        ("pretrain", {**BOTH, "model.trainer": "biovil"}, ("pretrain", "finetune")),
        ("genes", {"model.modalities": "genes"}, ("genes", "finetune")),
        ("none", BOTH, ("finetune",)),
        ("none", {**BOTH, "model.system": "mcat"}, ("finetune",)),
    ],
)
def test_the_stages_share_all_epochs_as_their_settings_do(total, start, changes, stages):
    config = load_preset("recommended", changes)

    found = shared(config, start=start, epochs=total)

    own = {stage: getattr(found, stage).epochs for stage in stages}
    wanted = {stage: getattr(config, stage).epochs for stage in stages}
    assert sum(own.values()) == total
    assert min(own.values()) >= 1
    for stage in stages:
        assert abs(own[stage] - total * wanted[stage] / sum(wanted.values())) <= 1
    for stage in {"genes", "pretrain", "finetune"} - set(stages):
        assert getattr(found, stage) == getattr(config, stage)
    assert found.model == config.model
    assert replace(found.finetune, epochs=config.finetune.epochs) == config.finetune


def test_every_network_trains_as_many_epochs_in_all(source, tmp_path):
    words = ("--methods", "gimp,abmil", "--fold", 0, "--epochs", 5)
    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 0, result.stderr
    trained = Counter(line.split("/")[1] for line in epochs(tmp_path / "s"))
    assert trained == {"gimp": 5, "abmil": 5}
    assert ", 5 epochs a network" in result.stdout.splitlines()[0]


def test_another_budget_is_another_comparison(source, tmp_path):
    quick = ("--methods", "logistic-genes,logistic-bag")
    benchmark(source, tmp_path / "s", *quick)

    refused = benchmark(source, tmp_path / "s", *quick, "--epochs", 9)
    few = benchmark(source, tmp_path / "t", *quick, "--epochs", 2)

    assert refused.exit_code == 3
    assert "made from other inputs: 'epochs: null -> 9'" in refused.stderr
    assert few.exit_code == 2
    assert "epochs = 2 is out of range, expected [3, " in few.stderr
    assert not (tmp_path / "t").exists()
