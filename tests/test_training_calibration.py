"""The temperature of a run: found where it is known, kept at 1 where it cannot be found."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from gimp_plugin.config import Runtime
from gimp_plugin.storage import runs
from gimp_plugin.training import commands, finetune
from gimp_plugin.training.calibration import calibration
from tests.study_factory import make_study, tiny_config


def draw_cases(n=2000, n_classes=3, *, scale=1.0, seed=0):
    """Logits, and labels that are drawn from their softmax before they are scaled."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, n_classes, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return scale * logits, labels


def log_loss(logits, labels, temperature):
    log_p = log_softmax(np.asarray(logits, dtype=float) / temperature, axis=1)
    return -np.mean([row[label] for row, label in zip(log_p, labels, strict=True)])


def smoothed_loss(logits, targets, temperature):
    log_p = log_softmax(np.asarray(logits, dtype=float) / temperature, axis=1)
    return -(targets * log_p).sum() / len(targets)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5, 7.0])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_scale_of_logits_that_were_scaled_on_purpose_is_found(scale, n_classes):
    found = calibration(*draw_cases(n_classes=n_classes, scale=scale))

    # 2,000 cases tell a scale to about 3 %, five classes better than two.
    assert found["temperature"] == pytest.approx(scale, rel=0.06)
    assert (found["fitted"], found["n_cases"]) == (True, 2000)


def test_no_temperature_of_a_fine_grid_has_a_smaller_loss():
    logits, labels = draw_cases(53, scale=3.0)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2001))  # steps of .3 %

    found = calibration(logits, labels)
    targets = (53 * np.eye(3)[labels] + 1) / 56
    losses = [smoothed_loss(logits, targets, temperature) for temperature in grid]

    assert found["temperature"] == pytest.approx(grid[np.argmin(losses)], rel=0.003)
    least = smoothed_loss(logits, targets, found["temperature"])
    assert least <= min(losses) + 1e-12
    plain = log_loss(logits, labels, found["temperature"])
    assert found["log_loss"] == pytest.approx(plain, rel=1e-12)
    assert found["log_loss_before"] == pytest.approx(log_loss(logits, labels, 1.0), rel=1e-12)


@pytest.mark.parametrize(("n", "n_classes"), [(20, 2), (98, 2), (41, 3)])
def test_where_all_are_right_the_probability_is_that_of_the_rule_of_succession(n, n_classes):
    labels = torch.arange(n) % n_classes

    found = calibration(5 * torch.eye(n_classes)[labels], labels)

    p = torch.softmax(torch.tensor([5.0, *[0.0] * (n_classes - 1)]) / found["temperature"], dim=0)
    assert p[0].item() == pytest.approx((n + 1) / (n + n_classes), rel=1e-5)
    assert found["temperature"] == pytest.approx(5 / np.log(n + 1), rel=1e-4)
    assert found["fitted"]


def test_one_wrong_case_more_makes_the_model_less_sure_and_no_other_kind_of_model():
    logits, labels = draw_cases(60, n_classes=2, scale=4.0)
    right = logits.argmax(dim=1) == labels
    least = logits.diff(dim=1).abs()[~right].argmin()  # nearly right
    kept = right.clone()
    kept[(~right).nonzero()[least]] = True

    without, with_one = (
        calibration(logits[rows], labels[rows])["temperature"] for rows in (right, kept)
    )

    assert without < with_one < 1.2 * without


def test_the_same_cases_give_the_same_temperature_to_the_last_bit():
    assert calibration(*draw_cases(53)) == calibration(*draw_cases(53))


@pytest.mark.parametrize(
    ("logits", "labels", "why"),
    [
        (*draw_cases(19), "only 19 validation cases, fewer than 20"),
        (
            torch.tensor([[0.0, float("nan")]] * 30),
            torch.arange(30) % 2,
            "logits of some validation cases are not finite",
        ),
        (
            -5 * torch.eye(3)[torch.arange(30) % 3],
            torch.arange(30) % 3,
            "at the limit of its range",
        ),
    ],
)
def test_the_temperature_stays_1_with_a_warning_where_it_cannot_be_found(
    logits, labels, why, caplog
):
    with caplog.at_level(logging.WARNING):
        found = calibration(logits, labels)

    assert (found["temperature"], found["fitted"]) == (1.0, False)
    assert found["log_loss"] == pytest.approx(found["log_loss_before"], nan_ok=True)
    assert why in caplog.text
    assert "not calibrated" in caplog.text


def test_a_temperature_that_is_found_is_no_warning(caplog):
    with caplog.at_level(logging.WARNING):
        calibration(*draw_cases(20))

    assert caplog.text == ""


def test_a_run_that_stopped_before_it_was_written_ends_with_the_same_bytes(tmp_path, monkeypatch):
    weak = {"gene_signal": 0.9, "image_signal": 0.1}  # some of the 22 validation cases are wrong
    study = make_study(tmp_path, n_cases=110, n_patches=(3, 7), **weak)
    config, write = tiny_config(finetune__epochs=2), commands.write_results
    finetune(study, config, start="genes", output=tmp_path / "whole", runtime=Runtime())

    def interrupted(*_arguments, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "write_results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune(study, config, start="genes", output=tmp_path / "cut", runtime=Runtime())
    monkeypatch.setattr(commands, "write_results", write)
    finetune(study, config, start="genes", output=tmp_path / "cut", runtime=Runtime())

    found = runs.read_run(tmp_path / "whole").metrics["stages"]["finetune"]["calibration"]
    assert found["fitted"]
    for name in runs.RESULTS:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
