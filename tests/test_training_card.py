"""What the card of a run tells its reader to do next."""

from __future__ import annotations

import pytest

from gimp_plugin.training.card import model_card
from tests.study_factory import tiny_config

METRICS = {"stages": {}, "n_parameters": 1234, "n_cases": {"train": 7, "val": 3, "test": 2}}


@pytest.mark.parametrize(
    ("kind", "first", "next_step"),
    [
        (
            "pretrain",
            "The pre-trained part of a model that will distinguish",
            "`gimp finetune --from RUN`",
        ),
        (
            "finetune",
            "A model that distinguishes",
            "`gimp predict` and\n`gimp evaluate` give figures",
        ),
    ],
)
def test_a_card_points_to_what_the_run_can_be_used_for(kind, first, next_step):
    card = model_card(kind, tiny_config(), ["LUAD", "LUSC"], METRICS)

    assert f"\n{first} LUAD and LUSC using slides and genes" in card
    assert next_step in card
    assert ("cannot\nuse it" in card) is (kind == "pretrain")
