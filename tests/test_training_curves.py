"""The picture of the learning curves."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from gimp_plugin.config import Runtime
from gimp_plugin.training import finetune, folder, loop, pretrain
from gimp_plugin.training.curves import COLOURS, learning_curves, panels_of
from tests.study_factory import make_study, tiny_config

SVG = "{http://www.w3.org/2000/svg}"


def stage(n_epochs, *names, chosen=1):
    rng = np.random.default_rng(n_epochs)
    epochs = [{name: float(rng.random()) for name in names} for _ in range(n_epochs)]
    return {"chosen_epoch": chosen, "epochs": epochs}


STAGES = {
    "genes": stage(3, "loss", "val_loss", "val_accuracy", chosen=2),
    "pretrain": stage(5, "loss", "reconstruction", "val_median", "triplet_image", "active_image"),
    "finetune": stage(1, "loss", "val_loss", "hamster"),
}


def test_every_metric_is_in_one_panel_and_unknown_ones_are_drawn_too():
    titles = {name: dict(panels_of(each["epochs"])) for name, each in STAGES.items()}

    assert titles == {
        "genes": {"loss": ["loss", "val_loss"], "accuracy": ["val_accuracy"]},
        "pretrain": {
            "loss": ["loss"],
            "masked patches, L1": ["reconstruction", "val_median"],
            "triplets": ["active_image", "triplet_image"],
        },
        "finetune": {"loss": ["loss", "val_loss"], "other": ["hamster"]},
    }


def test_metrics_of_very_different_size_do_not_share_a_panel():
    sums = {"reconstruction": 4e5, "val_median": 0.12, "val_reconstruction": -0.13}
    shares = {"active_image": 0.0, "triplet_image": 90.0, "active_patient": 1.0}
    epochs = [{**sums, **shares}, {"reconstruction": 3.0, "val_median": 0.12}]

    assert list(panels_of(epochs)) == [
        ("masked patches, L1", ["reconstruction"]),
        ("masked patches, L1", ["val_median", "val_reconstruction"]),
        ("triplets", ["active_image", "active_patient", "triplet_image"]),
    ]


def test_numbers_beside_an_axis_fit_into_its_margin():
    epochs = [{"loss": 4e5 - 2e4 * number} for number in range(6)]
    drawn = learning_curves({"pretrain": {"chosen_epoch": 1, "epochs": epochs}}).decode()

    numbers = re.findall("<!-- ([0-9.e]+) -->", drawn)  # the text of each label

    assert "1e5" in numbers
    assert max(map(len, numbers)) <= 4


def test_the_picture_is_an_svg_of_the_same_bytes_with_a_line_a_metric():
    picture = learning_curves(STAGES)

    assert picture == learning_curves(STAGES)
    root = ET.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    groups = [group.get("id", "") for group in root.iter(f"{SVG}g")]
    assert sum(name.startswith("axes_") for name in groups) == 7
    drawn = picture.decode()
    assert drawn.count(f"stroke: {COLOURS[0]}") >= 7  # the first line of each panel
    assert "http" not in drawn.replace("http://www.w3.org", "").split("<metadata>")[0]


def test_a_stage_with_a_gap_and_no_stages_at_all_are_drawn():
    gaps = {"chosen_epoch": 1, "epochs": [{"loss": 1.0}, {"loss": 2.0, "val_loss": 3.0}]}

    assert learning_curves({"finetune": gaps}).startswith(b"<?xml")
    assert learning_curves({}).startswith(b"<?xml")


def test_a_run_holds_the_picture_of_its_metrics(monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "learning_curves", learning_curves)  # tests write words instead
    source = make_study(tmp_path, n_cases=24)

    finetune(source, tiny_config(), start="none", output=tmp_path / "run", runtime=Runtime())

    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert (tmp_path / "run/curves.svg").read_bytes() == learning_curves(metrics["stages"])


def test_an_interrupted_run_ends_with_the_same_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "learning_curves", learning_curves)
    source, config = make_study(tmp_path, n_cases=24), tiny_config(pretrain__epochs=3)
    pretrain(source, config, output=tmp_path / "whole", runtime=Runtime())

    def interrupt(stage, epoch, **_):
        if (stage, epoch) == ("pretrain", 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "tell_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain(source, config, output=tmp_path / "again", runtime=Runtime())
    pretrain(source, config, output=tmp_path / "again", runtime=Runtime())

    whole, again = ((tmp_path / name / "curves.svg").read_bytes() for name in ("whole", "again"))
    assert whole == again
