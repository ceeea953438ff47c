"""Where the decoder starts: at the median of the training patches, before any step."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file

from gimp_plugin.config import Runtime
from gimp_plugin.storage import runs
from gimp_plugin.storage.bags import BagWriter, list_bags, read_features
from gimp_plugin.training import pretrain
from tests.study_factory import FEATURE_DIM, make_study, tiny_config

UNMOVED = {"pretrain__lr": 1e-12, "pretrain__epochs": 1, "genes__epochs": 1}


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path, n_patches=(3, 13))  # no more than a run, so each patch counts once


def median_of(study, run, *parts):
    """Median of all patches of the cases of some parts, each with mean 0 and variance 1."""
    patches = np.concatenate(
        [
            read_features(bag).astype(np.float64)
            for bag in list_bags(study.features)
            if runs.read_run(run).parts[bag.slide_id] in parts
        ]
    )
    centred = patches - patches.mean(axis=1, keepdims=True)
    scaled = np.sort(centred / np.sqrt(patches.var(axis=1, keepdims=True) + 1e-5), axis=0)
    return scaled[(len(scaled) - 1) // 2]  # torch's median is the lower of two


@pytest.mark.parametrize(("depth", "last"), [(0, 1), (2, 5)])
def test_the_decoder_starts_at_the_median_of_the_training_cases_alone(study, tmp_path, depth, last):
    run, config = tmp_path / "run", tiny_config(**UNMOVED, model__decoder_depth=depth)

    pretrain(study, config, output=run, runtime=Runtime())

    model = load_file(run / runs.MODEL)
    start = model[f"decoder.{last}.bias"].numpy()
    np.testing.assert_allclose(start, median_of(study, run, "train"), atol=1e-6)
    assert abs(start - median_of(study, run, "train", "val", "test")).max() > 1e-4
    assert model[f"decoder.{last}.weight"].abs().max() < 1e-9
    assert f"decoder.{last + 1}.weight" not in model


def test_the_first_guess_is_as_good_as_a_median_and_a_random_one_is_not(study, tmp_path):
    def error_of(start):
        config = tiny_config(**UNMOVED, pretrain__decoder_start=start)
        run = pretrain(study, config, output=tmp_path / start, runtime=Runtime())
        return run.metrics["stages"]["pretrain"]["epochs"][-1]["val_reconstruction"]

    assert error_of("median") < 0.9 * error_of("random")


def test_patches_of_a_long_bag_are_sampled_from_its_whole_length(tmp_path):
    study = make_study(tmp_path)
    for path in study.features.glob("*.h5"):
        path.unlink()
        features = np.linspace(-1, 1, 401)[:, None].repeat(FEATURE_DIM, axis=1).astype(np.float16)
        with BagWriter(path, dim=FEATURE_DIM, attributes={"encoder": "untrained"}) as writer:
            writer.append(features, np.zeros((401, 2), np.int32))
    config = tiny_config(**UNMOVED, model__feature_norm="none")

    run = pretrain(study, config, output=tmp_path / "run", runtime=Runtime()).path

    start = load_file(run / runs.MODEL)["decoder.1.bias"].numpy()
    np.testing.assert_allclose(start, 0, atol=0.35)  # between the second and the third of four runs
