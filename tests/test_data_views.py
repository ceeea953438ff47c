"""Bags of one encoder whose patches show more or less of the tissue."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gimp_plugin.config import CohortSource
from gimp_plugin.data.study import prepare
from gimp_plugin.prediction.halves import predictable
from gimp_plugin.storage.runs import RunRecord
from tests.study_factory import make_bag, tiny_config

USUAL, COARSE = {"mpp": 0.5, "patch_size": 256}, {"mpp": 1.0, "patch_size": 256}


@pytest.fixture
def cases(tmp_path):
    """Give cases of slides only, each extracted as told; None tells nothing."""

    def make(**made):
        for name, told in made.items():
            said = {} if told is None else {"extraction_config": json.dumps(told)}
            rng = np.random.default_rng(ord(name))
            make_bag(tmp_path / f"{name}.h5", 3, 0.5, rng=rng, encoder="untrained", **said)
        return prepare(CohortSource(features=tmp_path), modalities="slides", labelled=False).cases

    return make


def run_of(extraction):
    values = dict.fromkeys(RunRecord.__dataclass_fields__)
    own = {"path": "runs/a", "kind": "finetune", "extraction": extraction}
    return RunRecord(**{**values, **own, "config": tiny_config(model__modalities="slides")})


def test_patches_of_two_resolutions_in_one_study_are_told(cases, caplog):
    cases(a=USUAL, b=COARSE, c=USUAL | {"input_size": 224}, d=None, e=USUAL)

    (message,) = caplog.messages
    assert "mpp=0.5, 256 px ('a', 'e'); mpp=1.0, 256 px ('b')" in message
    assert "mpp=0.5, 256 px resized to 224 px ('c')" in message


def test_patches_that_a_run_has_not_seen_are_told(cases, caplog):
    predictable(cases(a=COARSE, b=COARSE), run_of(USUAL | {"stride": 128}), None)

    (message,) = caplog.messages
    assert (
        "'runs/a' was trained on patches of mpp=0.5, 256 px, but 2 bags are of mpp=1.0, 256 px"
        in message
    )
    assert "'a', 'b'" in message


@pytest.mark.parametrize("told", [USUAL | {"stride": 64}, None, [1], "text"])
def test_alike_and_unknown_patches_are_no_matter(cases, caplog, told):
    found = cases(a=told, b=USUAL)

    predictable(found, run_of(USUAL), None)
    predictable(found, run_of({}), None)

    assert not caplog.messages


def test_a_slide_that_stands_twice_is_told_with_its_cases(tmp_path, caplog):
    for name in "abc":
        make_bag(tmp_path / f"{name}.h5", 5, 0.5, rng=np.random.default_rng(0 if name < "c" else 1))
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,case_id\na,P1\nb,P2\nc,P2\n")
    source = CohortSource(features=tmp_path, slide_table=table)

    prepare(source, modalities="slides", labelled=False)

    told = (
        "1 slide appears under several names, all of which are used: 'a of case P1 = b of case P2'"
    )
    assert told in caplog.messages


def test_of_a_slide_with_many_names_a_few_are_told(tmp_path, caplog):
    for name in "abcdef":
        make_bag(tmp_path / f"{name}.h5", 5, 0.5, rng=np.random.default_rng(0))
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,case_id\n" + "".join(f"{name},P\n" for name in "abcdef"))
    source = CohortSource(features=tmp_path, slide_table=table)

    prepare(source, modalities="slides", labelled=False)

    told = "'a of case P = b of case P = c of case P = d of case P = 2 more'"
    assert caplog.messages[-1].endswith(told)
