"""Shapley values, curves, agreement, regions and enrichment against closed forms and loops."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import rankdata

from gimp_plugin.evaluation.statistics import mean_interval
from gimp_plugin.explain.enrichment import enriched
from gimp_plugin.explain.faithfulness import SHARES, agreement, areas, truth_aucs
from gimp_plugin.explain.modalities import shapley
from gimp_plugin.explain.regions import blocks, regions_of, runs, step_of


def test_shapley_values_are_the_mean_over_the_orders_of_the_halves():
    value = {"": 0.3, "s": 1.7, "g": -0.4, "gs": 2.6}

    found = shapley(
        both=np.array(2.6), slides=np.array(1.7), genes=np.array(-0.4), none=np.array(0.3)
    )

    gains = {"s": [], "g": []}
    for order in permutations("sg"):
        for place, player in enumerate(order):
            before = "".join(sorted(order[:place]))
            gains[player].append(value["".join(sorted(before + player))] - value[before])
    assert found.slides == pytest.approx(np.mean(gains["s"]))
    assert found.genes == pytest.approx(np.mean(gains["g"]))
    assert found.slides + found.genes == pytest.approx(2.6 - 0.3)


def test_the_curves_of_a_linear_model_are_their_closed_form():
    weights = np.random.default_rng(3).normal(size=37).astype(np.float32)
    other = np.roll(weights, 5)

    def kept(rows):
        return float(weights[rows].sum(dtype=np.float64))

    found = areas(
        kept,
        {"true": weights, "other": other},
        np.arange(37),
        rng=np.random.default_rng(0),
        n_orders=3,
    )

    sizes = [round(share * 37) for share in SHARES]
    best = np.sort(weights.astype(np.float64))[::-1]
    by_other = weights.astype(np.float64)[np.argsort(-other, kind="stable")]
    gained = np.mean([best[:size].sum() - by_other[:size].sum() for size in sizes])
    lost = np.mean([by_other[size:].sum() - best[size:].sum() for size in sizes])
    assert found["insertion_true"] - found["insertion_other"] == pytest.approx(gained)
    assert found["deletion_true"] - found["deletion_other"] == pytest.approx(lost)
    assert min(found["insertion_true"], found["deletion_true"]) > 0


def test_where_all_patches_weigh_the_same_no_order_is_better_than_chance():
    scores = {"any": np.random.default_rng(1).normal(size=20).astype(np.float32)}

    found = areas(lambda rows: 2.0 * len(rows), scores, np.arange(20), rng=np.random.default_rng(0))

    assert list(found.values()) == pytest.approx([0.0, 0.0])


def test_agreement_is_the_correlation_of_ranks_and_of_means_over_regions():
    rng = np.random.default_rng(5)
    regions = np.repeat(np.arange(6), [3, 1, 4, 2, 5, 2])
    scores = {name: rng.normal(size=17).astype(np.float32) for name in ("attention", "occlusion")}
    scores["attribution"] = scores["attention"] ** 3

    found = agreement(scores, regions)

    means = [
        [scores[name][regions == region].mean() for region in range(6)]
        for name in ("attention", "occlusion")
    ]
    expected = np.corrcoef(rankdata(means[0]), rankdata(means[1]))[0, 1]
    assert found["spearman_attention_attribution"] == pytest.approx(1.0)
    assert found["spearman_attention_occlusion"] == pytest.approx(expected)


def test_scores_that_are_constant_agree_with_nothing():
    scores = {"one": np.ones(7, np.float32), "other": np.arange(7, dtype=np.float32)}

    assert agreement(scores, np.arange(7)) == {}


def test_the_auc_of_patches_counts_pairs_and_leaves_unknown_ones_out():
    truth = np.array([1, 0, np.nan, 1, 0, 0])
    scores = {"a": np.float32([0.5, 0.4, 9.0, 0.1, 0.1, -1.0])}

    found = truth_aucs(scores, truth)

    pairs = [(a > b) + (a == b) / 2 for a in (0.5, 0.1) for b in (0.4, 0.1, -1.0)]
    assert found == {"auc_a": pytest.approx(np.mean(pairs))}
    assert truth_aucs(scores, np.ones(6)) == {}


def test_blocks_are_squares_that_hold_neighbours_and_not_too_many():
    x, y = np.meshgrid(np.arange(11), np.arange(7))
    corners = (np.stack([x.ravel(), y.ravel()], axis=1) * 224 + [5, 9]).astype(np.int32)

    found = blocks(corners, n_regions=9, side=224)

    assert 1 < found.max() + 1 <= 9
    assert set(found) == set(range(found.max() + 1))
    sides = {tuple(np.ptp(corners[found == region], axis=0)) for region in set(found)}
    assert max(max(side) for side in sides) < 224 * 4
    for region in set(found):  # a block is full: nobody else's patch lies within it
        low, high = corners[found == region].min(axis=0), corners[found == region].max(axis=0)
        inside = ((corners >= low) & (corners <= high)).all(axis=1)
        assert (found[inside] == region).all()


def test_a_case_shares_its_regions_out_among_its_slides():
    corners = np.stack([np.arange(30) * 7, np.zeros(30)], axis=1).astype(np.int32)

    found = regions_of([corners, 10], n_regions=8, sides=[7, 1])

    assert set(found[:30]).isdisjoint(found[30:])
    assert len(set(found)) <= 8
    assert found[30:].tolist() == (runs(10, n_regions=2) + found[30]).tolist()


def test_the_side_of_a_patch_is_the_smallest_step():
    assert step_of(np.array([[0, 0], [512, 256], [1024, 768]], np.int32)) == 256
    assert step_of(np.array([[3, 4]], np.int32)) == 1


def test_enrichment_is_mann_and_whitneys_test_adjusted_for_the_sets():
    values = np.random.default_rng(2).normal(size=41)
    sets = {"up": np.argsort(-values)[:6], "any": np.arange(0, 41, 5), "few": np.array([1, 2])}
    sets["all"] = np.arange(41)

    found = enriched(values, sets, least=5)

    assert [one.name for one in found] == ["up", "any"]
    for one in found:
        inside = np.isin(np.arange(41), sets[one.name])
        pairs = [a > b for a in values[inside] for b in values[~inside]]
        assert one.auc == pytest.approx(np.mean(pairs))
    assert found[0].auc == 1.0
    assert found[0].q == pytest.approx(min(2 * found[0].p, found[1].p))
    assert found[1].q == pytest.approx(found[1].p)


def test_the_interval_of_a_mean_is_that_of_the_bootstrap():
    values = np.random.default_rng(4).normal(size=400)

    low, high = mean_interval(values, seed=1)

    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert mean_interval(np.array([3.0]), seed=1) == (3.0, 3.0)
