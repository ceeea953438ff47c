"""Predictions and validation of a real run: those of whole bags, whatever the chunks."""

from __future__ import annotations

import csv
from functools import partialmethod

import anndata
import numpy as np
import pytest
import torch

from gimp_plugin.assembly.load import load_run, transform_of
from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.data import chunks
from gimp_plugin.models import gimp
from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.prediction.predict import predict
from gimp_plugin.storage.bags import list_bags, read_features
from gimp_plugin.storage.runs import read_run
from gimp_plugin.training import finetune
from tests.study_factory import make_bag, make_study, tiny_config

SIZES = {"a": 7, "b": 41, "c": 12}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose first case has three more slides."""
    folder = tmp_path_factory.mktemp("study")
    source = make_study(folder, n_cases=20, seed=3)
    rng = np.random.default_rng(5)
    for name, size in SIZES.items():
        make_bag(source.features / f"P00{name}.h5", size, 0.4, rng=rng, encoder="untrained")
    table = folder / "slides.csv"
    rows = [(bag.slide_id, bag.slide_id[:3]) for bag in list_bags(source.features)]
    table.write_text("slide_id,case_id\n" + "".join(f"{s},{c}\n" for s, c in rows))
    return CohortSource(adata=source.adata, features=source.features, slide_table=table)


@pytest.fixture(scope="module", params=["recommended", "paper"])
def run(request, study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = tiny_config(request.param, model__n_landmarks=23)
    finetune(study, config, start="none", output=folder, runtime=Runtime())
    return folder


def predicted(run, study, output, **runtime):
    """Probability of the second class by case."""
    predict(run, study, output=output, runtime=Runtime(**runtime))
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["n_slides"] == "4"
    last = [name for name in rows[0] if name.startswith("prob_")][-1]
    return {row["case_id"]: float(row[last]) for row in rows}


@pytest.fixture(scope="module")
def by_hand(run, study):
    """Probabilities of each case by the model itself, from all its slides at once."""
    record, model = load_run(run)
    cohort = read_cohort(study.adata)
    genes = torch.from_numpy(transform_of(record).apply(cohort)[0])
    here, found = torch.ones(1, dtype=torch.bool), {}
    for row, case_id in enumerate(cohort.case_ids):
        bags = [bag for bag in list_bags(study.features) if bag.slide_id.startswith(case_id)]
        features = torch.from_numpy(np.concatenate([read_features(bag) for bag in bags]))[None]
        n_patches = torch.tensor([bag.n_patches for bag in bags])
        slide = torch.arange(len(bags)).repeat_interleave(n_patches)[None]
        with torch.no_grad():
            cls_img = model.encode_slides(features, slide >= 0, slide=slide).cls_img
            cls_ge = model.encode_genes(genes[row : row + 1])
            logits = model.classify(cls_img, cls_ge, here, here)
        found[case_id] = logits[0].double().softmax(dim=0).tolist()
    return found


@pytest.mark.parametrize("num_workers", [0, 2])
def test_predictions_are_those_of_whole_bags(run, study, by_hand, tmp_path, num_workers):
    found = predicted(run, study, tmp_path / "predictions.csv", num_workers=num_workers)

    expected = {case_id: probabilities[-1] for case_id, probabilities in by_hand.items()}
    assert found == pytest.approx(expected, rel=0, abs=2e-6)


def test_the_chunks_change_no_prediction_but_by_rounding(run, study, tmp_path, monkeypatch):
    expected = predicted(run, study, tmp_path / "whole.csv")

    monkeypatch.setattr(chunks, "ROWS", 5)
    monkeypatch.setattr(gimp, "CHUNK", 2)
    monkeypatch.setattr(
        NystromAggregator, "stream", partialmethod(NystromAggregator.stream, chunk=3)
    )
    in_pieces = predicted(run, study, tmp_path / "in-pieces.csv", num_workers=2)

    assert in_pieces == pytest.approx(expected, rel=0, abs=2e-6)


def test_the_validation_loss_of_fine_tuning_is_that_of_whole_bags(run, study, by_hand):
    record = read_run(run)
    labels = anndata.read_h5ad(study.adata).obs["label"]

    stage = record.metrics["stages"]["finetune"]

    losses = [
        -np.log(by_hand[case_id][record.classes.index(labels[case_id])])
        for case_id, part in record.parts.items()
        if part == "val"
    ]
    assert len(losses) == 4
    found = stage["epochs"][stage["chosen_epoch"] - 1]["val_loss"]
    assert found == pytest.approx(np.mean(losses), rel=1e-5)
