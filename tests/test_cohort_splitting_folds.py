from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.obs import read_obs
from gimp_plugin.cohort.splitting.folds import FoldPlan, draw_folds, large_sites, test_from_val
from gimp_plugin.cohort.splitting.placing import place_sites
from gimp_plugin.cohort.splitting.sites import sites_from_column, tcga_sites
from gimp_plugin.cohort.splitting.splits import Splits, draw_splits
from gimp_plugin.errors import ConfigError, SplitError
from gimp_plugin.keys import PARTS

test_from_val.__test__ = False
FEWER = settings(max_examples=settings().max_examples // 5)  # each draws whole partitions
REAL = Path(__file__).parents[2] / "shared" / "data" / "cohort" / "genes.h5ad"
SIZES = st.dictionaries(st.sampled_from("abc"), st.integers(7, 23), min_size=1)


def labels_of_sizes(sizes: dict[str, int]) -> dict[str, str]:
    return {f"{label}{case:02d}": label for label, size in sizes.items() for case in range(size)}


def drawn_sites(labels: dict[str, str], n_sites: int, seed: int) -> dict[str, str]:
    """Each class over all of some sites, unevenly: the first case of a class at each in turn."""
    generator, seen, sites = np.random.default_rng(seed), Counter(), {}
    for case_id, label in labels.items():
        place = seen[label] if seen[label] < n_sites else int(generator.integers(n_sites) ** 2)
        sites[case_id] = f"{label}{place % n_sites}"
        seen[label] += 1
    return sites


def parts_of(folds: tuple[Splits, ...]) -> list[dict[str, str]]:
    return [dict(splits.parts) for splits in folds]


# ---- by patient


@FEWER
@given(sizes=SIZES, n_folds=st.integers(2, 7), seed=st.integers(0, 2**32 - 1))
def test_test_parts_partition_the_cases_and_every_part_has_every_class(
    sizes: dict[str, int], n_folds: int, seed: int
) -> None:
    labels = labels_of_sizes(sizes)

    folds = draw_folds(labels, FoldPlan(n_folds=n_folds, seed=seed))

    assert [splits.fold for splits in folds] == [str(fold) for fold in range(n_folds)]
    tested = [case_id for splits in folds for case_id in splits.of("test")]
    assert sorted(tested) == sorted(labels)
    for splits in folds:
        assert list(splits.parts) == list(labels)
        for part, label in itertools.product(PARTS, sizes):
            assert any(labels[case_id] == label for case_id in splits.of(part))


@FEWER
@given(sizes=SIZES, seed=st.integers(0, 99))
def test_each_class_is_spread_evenly_over_test_parts_and_val(
    sizes: dict[str, int], seed: int
) -> None:
    labels = labels_of_sizes(sizes)

    for splits in draw_folds(labels, FoldPlan(n_folds=5, val_share=0.3, seed=seed)):
        counts = {part: Counter(labels[name] for name in splits.of(part)) for part in PARTS}
        for label, size in sizes.items():
            assert abs(counts["test"][label] - size / 5) < 1
            assert abs(counts["val"][label] - 0.3 * (size - counts["test"][label])) <= 0.5


@FEWER
@given(
    sizes=SIZES,
    seed=st.integers(0, 99),
    shuffle=st.integers(0, 99),
    n_folds=st.sampled_from([0, 3]),
    by_site=st.booleans(),
)
def test_folds_do_not_depend_on_the_order_of_the_cases(
    sizes: dict[str, int], seed: int, shuffle: int, n_folds: int, by_site: bool
) -> None:
    labels = labels_of_sizes(sizes)
    sites = drawn_sites(labels, 7, seed) if by_site else None
    names = np.random.default_rng(shuffle).permutation(list(labels)).tolist()
    plan = FoldPlan(n_folds=n_folds, seed=seed)

    shuffled = draw_folds({case_id: labels[case_id] for case_id in names}, plan, sites=sites)

    assert parts_of(shuffled) == parts_of(draw_folds(labels, plan, sites=sites))


@FEWER
@given(n_patients=st.integers(11, 19), seed=st.integers(0, 99), by_site=st.booleans())
def test_samples_of_a_patient_stay_together(n_patients: int, seed: int, by_site: bool) -> None:
    labels = {
        f"TCGA-{case % 9:02d}-{case:04d}-01{vial}": "ab"[case % 2]
        for case in range(n_patients * 2)
        for vial in "ABC"[: 1 + case % 3]
    }
    sites = tcga_sites(labels) if by_site else None

    for splits in draw_folds(labels, FoldPlan(n_folds=3, seed=seed), sites=sites):
        found = defaultdict(set)
        for case_id, part in splits.parts.items():
            found[same_case(case_id)].add(part)
        assert all(len(parts) == 1 for parts in found.values())


def test_repeats_are_other_draws_of_the_same_cases() -> None:
    labels = labels_of_sizes({"a": 23, "b": 17})

    folds = draw_folds(labels, FoldPlan(n_folds=3, n_repeats=2, seed=5))

    assert [splits.fold for splits in folds] == ["r0f0", "r0f1", "r0f2", "r1f0", "r1f1", "r1f2"]
    for repeat in (folds[:3], folds[3:]):
        assert sorted(name for one in repeat for name in one.of("test")) == sorted(labels)
    assert folds[0].of("test") not in [one.of("test") for one in folds[3:]]
    assert parts_of(folds[:3]) == parts_of(draw_folds(labels, FoldPlan(n_folds=3, seed=5)))


def test_without_folds_it_is_the_draw_that_training_does() -> None:
    labels = labels_of_sizes({"a": 23, "b": 17})

    (splits,) = draw_folds(labels, FoldPlan(seed=4))

    assert (splits.parts, splits.fold) == (draw_splits(labels, seed=4).parts, "0")


def test_another_seed_draws_other_folds() -> None:
    labels = labels_of_sizes({"a": 23, "b": 17})

    one, other = (draw_folds(labels, FoldPlan(n_folds=3, seed=seed)) for seed in (1, 2))

    assert parts_of(one) != parts_of(other)


def test_a_class_that_is_too_small_for_val_is_counted_where_it_is() -> None:
    labels = labels_of_sizes({"a": 9, "b": 2})

    with pytest.raises(
        SplitError, match=r"outside the test part of fold 0: class 'b' has 1 case, expected at l"
    ):
        draw_folds(labels, FoldPlan(n_folds=2))


def test_a_class_with_fewer_cases_than_folds_is_named() -> None:
    with pytest.raises(SplitError, match=r"class 'b' has 4 cases, expected at least 5") as caught:
        draw_folds(labels_of_sizes({"a": 9, "b": 4}), FoldPlan(n_folds=5))

    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "plan", [{"n_folds": 1}, {"n_folds": -3}, {"n_repeats": 0}, {"val_share": 0.0}, {"seed": -1}]
)
def test_a_plan_out_of_range_is_wrong_usage(plan: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        FoldPlan(**plan)


# ---- by site


@FEWER
@given(sizes=SIZES, seed=st.integers(0, 99), n_folds=st.sampled_from([0, 2, 3]))
def test_no_site_is_in_two_parts_of_a_fold(sizes: dict[str, int], seed: int, n_folds: int) -> None:
    labels = labels_of_sizes(sizes)
    sites = drawn_sites(labels, 7, seed)

    try:
        folds = draw_folds(labels, FoldPlan(n_folds=n_folds, seed=seed), sites=sites)
    except SplitError as error:  # a class may have one large site left beside a test part
        if re.search("outside the test part of fold .* come from 1 site", str(error)):
            reject()
        raise

    for splits in folds:
        found = [{sites[case_id] for case_id in splits.of(part)} for part in PARTS]
        assert not any(one & other for one, other in itertools.combinations(found, 2))
        for part, label in itertools.product(PARTS, sizes):
            assert any(labels[case_id] == label for case_id in splits.of(part))
    if n_folds:
        assert sorted(name for one in folds for name in one.of("test")) == sorted(labels)


@FEWER
@given(
    counts=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=7, max_size=7),
    shares=st.sampled_from([(1 / 3, 1 / 3, 1 / 3), (0.2, 0.8), (0.6, 0.2, 0.2)]),
    seed=st.integers(0, 9),
)
def test_sites_are_placed_about_as_well_as_by_trying_everything(
    counts: list[tuple[int, int]], shares: tuple[float, ...], seed: int
) -> None:
    counts[0] = (3, 5)
    sites = {f"s{place}": {"a": a, "b": b} for place, (a, b) in enumerate(counts)}
    table = np.array(counts, float) / np.sum(counts, axis=0)

    places = np.array(list(itertools.product(range(len(shares)), repeat=7)))
    held = np.stack([(places == part) @ table for part in range(len(shares))], axis=1)
    costs = ((held - np.array(shares)[:, None]) ** 2).sum(axis=(1, 2)) + (held == 0).sum(
        axis=(1, 2)
    )

    placed = place_sites(sites, shares, seed=seed)

    (found,) = costs[(places == list(placed.values())).all(axis=1)]
    assert list(placed) == list(sites)
    assert found <= costs.min() + 0.02  # 500 drawn tables: 499 were best, one was off by 0.003


def test_classes_from_other_sites_are_balanced_too() -> None:
    sites = {f"a{place}": {"a": 4 + place} for place in range(15)}
    sites |= {f"b{place}": {"b": 9 + place % 4} for place in range(20)}

    placed = place_sites(sites, [0.2] * 5, seed=0)

    totals = {"a": 165, "b": 210}
    for part, label in itertools.product(range(5), totals):
        held = sum(sites[name].get(label, 0) for name in sites if placed[name] == part)
        assert abs(held - totals[label] / 5) <= 1


@pytest.mark.parametrize("n_folds", [0, 3])
def test_no_two_repeats_by_site_are_judged_on_the_same_sites(n_folds: int) -> None:
    labels = {f"P{case:02d}": "ab"[case % 2] for case in range(60)}
    sites = {name: f"s{int(name[1:]) // 2 % 9}" for name in labels}
    plan = FoldPlan(n_folds=n_folds, n_repeats=3)

    folds = draw_folds(labels, plan, sites=sites)

    tested = [frozenset(sites[name] for name in splits.of("test")) for splits in folds]
    assert len(set(tested)) == len(folds) == 3 * (n_folds or 1)


def test_repeats_by_site_that_there_are_not_are_refused() -> None:
    labels = {f"P{case:02d}": "ab"[case % 2] for case in range(60)}
    sites = {name: f"s{int(name[1:]) // 2 % 3}" for name in labels}

    with pytest.raises(SplitError, match="that differs from the other repeats"):
        draw_folds(labels, FoldPlan(n_folds=3, n_repeats=2), sites=sites)


def test_a_class_from_too_few_sites_is_named_with_them() -> None:
    labels = labels_of_sizes({"a": 20, "b": 20})
    sites = {name: "xy"[int(name[1:]) % 2] if name[0] == "b" else name for name in labels}

    with pytest.raises(SplitError) as caught:
        draw_folds(labels, FoldPlan(n_folds=5), sites=sites)

    assert "class 'b' come from 2 sites, expected at least 5: 'x', 'y'" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_site_that_holds_more_than_a_fold_is_named() -> None:
    labels = labels_of_sizes({"a": 20, "b": 20})
    sites = {name: "big" if name < "a09" else name for name in labels}

    warnings = large_sites(labels, sites, FoldPlan(n_folds=5))

    assert len(warnings) == 1
    assert "site 'big' alone holds 9 of 20 cases of 'a', a test part should hold 4.0" in warnings[0]
    assert not large_sites(labels, {name: name for name in labels}, FoldPlan(n_folds=5))


def test_a_patient_of_two_sites_is_refused() -> None:
    labels = {f"TCGA-05-{case:04d}-01{vial}": "a" for case in range(9) for vial in "AB"}
    sites = {name: name[-3:] for name in labels}

    with pytest.raises(SplitError, match="'TCGA-05-0000' has two sites: '01A', '01B'"):
        draw_folds(labels, FoldPlan(n_folds=2), sites=sites)


def test_tcga_sites_are_two_characters_of_the_barcode() -> None:
    assert tcga_sites(["TCGA-05-4244", "tcga-nj-a4yq-01A"]) == {
        "TCGA-05-4244": "05",
        "tcga-nj-a4yq-01A": "NJ",
    }


def test_cases_without_a_barcode_are_named() -> None:
    with pytest.raises(SplitError, match=r"1 case has no TCGA barcode.*'P7'.*--site-key"):
        tcga_sites(["TCGA-05-4244", "P7"])


def test_sites_come_from_a_column() -> None:
    obs = pd.DataFrame({"site": [3, 4, 3]}, index=["x", "y", "z"])

    assert sites_from_column(obs, "site", ["z", "y"]) == {"z": "3", "y": "4"}


@pytest.mark.parametrize(
    ("column", "message"),
    [("sites", "did you mean 'site'"), ("site", "1 case has no site: 'y'")],
)
def test_a_column_that_does_not_tell_the_site_is_refused(column: str, message: str) -> None:
    obs = pd.DataFrame({"site": ["3", None]}, index=["x", "y"])

    with pytest.raises(SplitError, match=message):
        sites_from_column(obs, column, ["x", "y"])


@pytest.mark.skipif(not REAL.exists(), reason="evaluation data is absent")
@pytest.mark.parametrize("seed", [0, 3])
def test_sites_of_a_real_cohort_are_kept_whole_and_folds_stay_even(seed: int) -> None:
    obs = read_obs(REAL)
    labels = dict(zip(obs.index, obs["label"].astype(str), strict=True))
    sites = tcga_sites(labels)
    assert sites == sites_from_column(obs, "tissue_source_site", labels)

    folds = draw_folds(labels, FoldPlan(n_folds=5, seed=seed), sites=sites)

    assert len(set(sites.values())) == 59
    for splits in folds:
        found = [{sites[case_id] for case_id in splits.of(part)} for part in PARTS]
        assert not any(one & other for one, other in itertools.combinations(found, 2))
        for label, total in Counter(labels.values()).items():
            tested, val = (
                sum(labels[case_id] == label for case_id in splits.of(part))
                for part in ("test", "val")
            )
            assert abs(tested - total / 5) <= 1
            assert abs(val - 0.2 * (total - tested)) <= 1
    tests = [{sites[case_id] for case_id in splits.of("test")} for splits in folds]
    assert sum(map(len, tests)) == len(set().union(*tests)) == 59


# ---- another program's val


def test_their_val_becomes_the_test_part_and_train_gives_a_val() -> None:
    labels = labels_of_sizes({"a": 15, "b": 10})
    theirs = {name: "val" if int(name[1:]) < 3 else "train" for name in labels}

    splits = test_from_val(Splits(parts=theirs, source="s"), labels, FoldPlan(val_share=0.25))

    assert set(splits.of("test")) == {name for name, part in theirs.items() if part == "val"}
    assert Counter(labels[name] for name in splits.of("val")) == {"a": 3, "b": 2}
    assert len(splits.parts) == 25


def test_a_test_part_is_not_thrown_away() -> None:
    splits = Splits(parts={"a": "train", "b": "val", "c": "test"}, source="'t'")

    with pytest.raises(SplitError, match="'t' already has a test part of 1 cases"):
        test_from_val(splits, {"a": "x", "b": "x", "c": "x"}, FoldPlan())
