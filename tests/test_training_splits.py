"""Which case is in which part of a run, by the tables that users have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gimp_plugin.data.study import prepare
from gimp_plugin.errors import ConfigError, SplitError
from gimp_plugin.training.plan import splits_of
from tests.study_factory import make_study

PARTS = {f"P{case:02d}": ("train", "val", "test")[case // 10] for case in range(30)}


@pytest.fixture
def source(tmp_path):
    return make_study(tmp_path, n_cases=30)


def splits(source, text, *, name="splits.csv", fold=None):
    path = source.adata.parent / name
    path.write_text(text)
    given = replace(source, splits=str(path), fold=fold)
    return splits_of(prepare(given), given, seed=0)


def clam_table(names):
    rows = zip(*(names[start : start + 10] for start in (0, 10, 20)), strict=True)
    lines = [f"{number},{','.join(row)}" for number, row in enumerate(rows)]
    return "\n".join([",train,val,test", *lines]) + "\n"


def test_a_fold_is_taken_by_its_name(source):
    other = {"train": "val", "val": "train", "test": "test"}
    rows = [f"{case},r0f0,{other[part]}\n{case},r1f0,{part}" for case, part in PARTS.items()]

    found = splits(source, "case_id,fold,split\n" + "\n".join(rows) + "\n", fold="r1f0")

    assert found.parts == PARTS
    assert found.fold == "r1f0"


def test_splits_of_clam_may_name_the_slides_of_the_run(source):
    table = source.adata.parent / "t.csv"
    lines = [f"s{case},P{29 - int(case[1:]):02d}\n" for case in PARTS]
    table.write_text("slide_id,case_id\n" + "".join(lines))
    for bag in list(source.features.iterdir()):
        bag.rename(source.features / f"s{bag.name}")
    with_slides = replace(source, slide_table=table)

    found = splits(with_slides, clam_table([f"s{case}" for case in PARTS]), name="splits_0.csv")

    assert found.parts == {case: PARTS[f"P{29 - int(case[1:]):02d}"] for case in PARTS}


def test_splits_of_clam_may_name_cases(source):
    assert splits(source, clam_table(list(PARTS)), name="splits_0.csv").parts == PARTS


def test_slides_of_a_case_in_two_parts_are_refused(source):
    table = source.adata.parent / "t.csv"
    slides = {case: "P00" if case == "P15" else case for case in PARTS}
    names = {f"s{case}": owner for case, owner in slides.items()}
    table.write_text("slide_id,case_id\n" + "".join(f"{s},{c}\n" for s, c in names.items()))
    for bag in list(source.features.iterdir()):
        bag.rename(source.features / f"s{bag.name}")
    given = replace(source, slide_table=table)

    with pytest.raises(SplitError, match=r"1 patient is in two parts: 'P00 \(train and val\)'"):
        splits(given, clam_table(list(names)), name="splits_0.csv")


def test_a_fold_without_splits_is_refused_instead_of_drawn(source):
    given = replace(source, fold="3")

    with pytest.raises(ConfigError, match="--fold '3' was given without --splits") as caught:
        splits_of(prepare(given), given, seed=0)

    assert caught.value.exit_code == 2
