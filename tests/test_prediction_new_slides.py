"""New slides are extracted as the run's own were."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.errors import CheckpointError, ConfigError, SlideError
from gimp_plugin.prediction import new_slides
from gimp_plugin.slides.extraction import ExtractionResult
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.storage.tables import Failure

STORED = ExtractionConfig(patch_encoder="untrained", mpp=0.75, patch_size=96, min_tissue=0.125)


def record(**extraction):
    values = dict.fromkeys(RunRecord.__dataclass_fields__) | {"components": {}}
    return RunRecord(**{**values, "path": Path("runs/a"), "extraction": extraction})


def test_the_configuration_is_that_of_the_runs_bags():
    stored = {**asdict(STORED), "weights_sha256": "0" * 64, "mask_mpp": 8.0}

    config = new_slides.extraction_config(record(**stored), weights=Path("w.pth"), slide_mpp=0.25)

    assert asdict(config) == {**asdict(STORED), "weights": "w.pth", "slide_mpp": 0.25}


def test_a_run_of_foreign_bags_cannot_tell_how_to_extract():
    with pytest.raises(CheckpointError, match=r"'runs/a' does not record how its bags were made"):
        new_slides.extraction_config(record())


def test_masks_are_asked_for_where_the_runs_bags_were_made_by_such(tmp_path):
    by_masks = record(**asdict(ExtractionConfig(masks="there")) | {"masks": "there"})

    config = new_slides.extraction_config(by_masks, masks=tmp_path)

    assert (config.tissue, config.masks) == ("given", str(tmp_path))
    with pytest.raises(ConfigError, match="'runs/a' was trained on tissue from masks") as caught:
        new_slides.extraction_config(by_masks)
    assert "--masks" in caught.value.hint
    with pytest.raises(ConfigError, match="'runs/a' was trained on tissue 'otsu'"):
        new_slides.extraction_config(record(**asdict(STORED)), masks=tmp_path)


def test_slides_that_all_fail_leave_nothing_to_predict(monkeypatch, tmp_path):
    monkeypatch.setattr(new_slides, "read_run", lambda _path: record(**asdict(STORED)))
    failures = tuple(Failure(name, "read", "SlideError", "") for name in ("a", "b"))
    failed = ExtractionResult(
        output=tmp_path, done=(), kept=(), failures=failures, n_patches=0, seconds=0.0
    )
    monkeypatch.setattr(new_slides, "extract_features", lambda *_given, **_named: failed)

    with pytest.raises(SlideError, match="none of 2 slides could be read") as caught:
        new_slides.extract_for(Path("runs/a"), [tmp_path], output=tmp_path, runtime=Runtime())
    assert "failures.csv" in caught.value.hint


def test_the_slide_table_tells_resolutions(monkeypatch, tmp_path):
    monkeypatch.setattr(new_slides, "read_run", lambda _path: record(**asdict(STORED)))
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,case_id,mpp\na,P1,0.5\nb,P2,\n")
    asked = []
    made = ExtractionResult(
        output=tmp_path, done=("a",), kept=(), failures=(), n_patches=1, seconds=0.0
    )
    monkeypatch.setattr(
        new_slides,
        "extract_features",
        lambda *_given, options, **_named: asked.append(options) or made,
    )

    new_slides.extract_for(
        Path("runs/a"), [tmp_path], output=tmp_path, runtime=Runtime(), slide_table=table
    )

    assert asked[0].slide_mpps == {"a": 0.5}
