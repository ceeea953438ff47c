"""`gimp split`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.cohort.splitting.splits import draw_splits, read_folds, read_splits
from tests.cohort_factory import make_cohort

CASES = [f"TCGA-{place % 11:02d}-{place:04d}" for place in range(66)]
LABELS = {case_id: ("LUAD", "LUSC")[place % 2] for place, case_id in enumerate(CASES)}


@pytest.fixture
def gimp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_cohort(
        tmp_path / "genes.h5ad",
        labels=list(LABELS.values()),
        case_ids=CASES,
        obs={"site": [case_id[5:7] for case_id in CASES]},
    )
    return lambda *words: CliRunner().invoke(cli, ["split", *words])


@pytest.fixture
def drawn(gimp):
    return lambda *words: gimp("--adata", "genes.h5ad", *words)


def names():
    return sorted(path.name for path in Path().iterdir())


def test_by_default_it_is_the_draw_that_training_does(drawn):
    result = drawn("--seed", "3")

    assert result.exit_code == 0, result.output
    assert read_splits(Path("splits.csv")).parts == dict(
        sorted(draw_splits(LABELS, seed=3).parts.items())
    )
    assert "| 0 | 39 (19, 20) | 13 (7, 6) | 14 (7, 7) |" in result.stdout
    assert result.stdout.endswith("splits.csv: done\n")


def test_folds_and_repeats_have_names(drawn):
    result = drawn("--folds", "3", "--repeats", "2", "-o", "f.csv")

    assert result.exit_code == 0, result.output
    assert [one.fold for one in read_folds(Path("f.csv"))] == [
        *("r0f0", "r0f1", "r0f2", "r1f0", "r1f1", "r1f2")
    ]
    with Path("f.csv").open(newline="") as file:
        rows = Counter((row["case_id"], row["fold"]) for row in csv.DictReader(file))
    assert set(rows.values()) == {1}
    assert len(rows) == 6 * 66


@pytest.mark.parametrize("option", [["--by-site"], ["--site-key", "site"]])
def test_whole_sites_stand_beside_plain_folds(drawn, option):
    result = drawn("--folds", "3", *option)

    assert result.exit_code == 0, result.output
    assert "test, plain stratified" in result.stdout
    assert "Plain stratified folds:" in result.stdout
    for one in read_folds(Path("splits.csv")):
        sites = [{case_id[5:7] for case_id in one.of(part)} for part in ("train", "val", "test")]
        assert sum(map(len, sites)) == len(set().union(*sites)) == 11


def test_json_is_for_programs(drawn):
    found = json.loads(drawn("--folds", "3", "--by-site", "--json").stdout)

    assert (found["output"], found["outcome"], found["format"]) == ("splits.csv", "done", "gimp")
    assert [one["fold"] for one in found["folds"]] == ["0", "1", "2"]
    assert sum(one["test"]["n_cases"] for one in found["folds"]) == 66
    assert sum(one["test"]["n_sites"] for one in found["folds"]) == 11
    assert found["largest_deviation_plain"]["ideal"] == 11.0
    assert len(found["plain"]) == 3


def test_the_same_command_has_nothing_to_do(drawn):
    drawn("--folds", "3")
    before = Path("splits.csv").read_bytes()

    result = drawn("--folds", "3")

    assert result.exit_code == 0
    assert "nothing to do" in result.stdout
    assert Path("splits.csv").read_bytes() == before


def test_other_splits_are_replaced_with_overwrite_only(drawn):
    drawn("--folds", "3")
    before = Path("splits.csv").read_bytes()

    refused = drawn("--folds", "4")

    assert refused.exit_code == 3
    assert "'splits.csv'" in refused.stderr
    assert Path("splits.csv").read_bytes() == before
    assert drawn("--folds", "4", "--overwrite").exit_code == 0
    assert len(read_folds(Path("splits.csv"))) == 4


def test_clams_tables_come_back_as_ours(drawn):
    drawn("--folds", "3", "-o", "ours.csv")

    assert drawn("--folds", "3", "--format", "clam").exit_code == 0
    assert drawn("--from", "splits", "-o", "again.csv").exit_code == 0

    assert Path("again.csv").read_bytes() == Path("ours.csv").read_bytes()


def test_clams_tables_name_slides_by_a_slide_table(drawn):
    Path("t.csv").write_text(
        "slide_id,case_id\n" + "".join(f"s{n},{case_id}\n" for n, case_id in enumerate(CASES))
    )

    silent = drawn("--format", "clam", "--slide-table", "t.csv")
    result = drawn("--from", "splits", "--slide-table", "t.csv", "-o", "again.csv")

    assert silent.stderr == ""
    assert "0,s" in Path("splits/splits_0.csv").read_text()
    assert result.exit_code == 0, result.output
    assert read_splits(Path("again.csv")).parts == draw_splits(LABELS, seed=0).parts


def test_what_clams_tables_lack_is_said(drawn):
    Path("t.csv").write_text("slide_id,case_id\n" + "".join(f"s{c},{c}\n" for c in CASES[:60]))

    some = drawn("--format", "clam", "--slide-table", "t.csv")
    none = drawn("--format", "clam", "-o", "by-case")

    assert "6 of 66 cases have no slide and are left out of the tables" in some.stderr
    assert "the tables name cases, not slides" in none.stderr


def test_splits_are_taken_without_a_cohort_too(gimp):
    Path("splits_2.csv").write_text(",train,val\n0,A,C\n1,TCGA-05-4244-01Z-00-DX1.d4ff,\n")

    result = gimp("--from", "splits_2.csv")

    assert result.exit_code == 0, result.output
    assert Path("splits.csv").read_text() == (
        "case_id,fold,split\nA,2,train\nC,2,val\nTCGA-05-4244,2,train\n"
    )


def test_the_val_of_survpath_becomes_a_test_part(drawn):
    drawn("--folds", "3", "--format", "survpath")
    drawn("--folds", "3", "-o", "ours.csv")

    result = drawn("--from", "splits", "--val-as-test", "-o", "again.csv")

    assert result.exit_code == 0, result.output
    ours, again = (read_folds(Path(name)) for name in ("ours.csv", "again.csv"))
    assert [set(one.of("test")) for one in again] == [set(one.of("test")) for one in ours]
    assert all(len(one.of("val")) == 8 for one in again)


def test_cases_of_a_table_that_the_cohort_lacks_are_said(drawn):
    rows = "".join(f"{n},{case_id},{CASES[n + 50]}\n" for n, case_id in enumerate(CASES[:16]))
    Path("splits_0.csv").write_text(f",train,val\n{rows}16,stranger,\n")

    result = drawn("--from", "splits_0.csv")

    assert result.exit_code == 0, result.output
    assert "1 of 33 names are not cases of the cohort and are left out: 'stranger'" in result.stderr
    assert "34 cases have no part" in result.stderr
    assert "no case is in 'test'" in result.stderr


def test_classes_may_come_from_a_table(gimp):
    Path("labels.csv").write_text(
        "patient,kind,hospital\n"
        + "".join(f"P{place},{'ab'[place % 2]},h{place % 7}\n" for place in range(42))
    )

    result = gimp(
        *("--labels", "labels.csv", "--case-key", "patient", "--label-key", "kind"),
        *("--site-key", "hospital", "--folds", "2"),
    )

    assert result.exit_code == 0, result.output
    for one in read_folds(Path("splits.csv")):
        sites = [{int(name[1:]) % 7 for name in one.of(part)} for part in ("train", "val", "test")]
        assert sum(map(len, sites)) == 7


def test_a_table_beside_the_cohort_says_the_classes_and_what_it_lacks_is_left_out(drawn):
    rows = "".join(f"{name},{'ab'[place // 3 % 2]}\n" for place, name in enumerate(CASES[:60]))
    Path("labels.csv").write_text(f"case_id,label\n{rows}stranger,a\n")

    result = drawn("--labels", "labels.csv")

    assert result.exit_code == 0, result.output
    assert "Each cell: cases (a, b)." in result.stdout
    assert "6 of 66 cases have no class and are left out" in result.stderr
    assert set(read_splits(Path("splits.csv")).parts) == set(CASES[:60])


BARE = (*CASES[5:64:12], "TCGA-99-9999-01A", f"{CASES[0]}-06A")
"""Cases without a class: some of each site, one of a site of its own, another sample of a case."""


@pytest.fixture
def partly(tmp_path, gimp):
    """A cohort of which some cases have no class."""
    labels = LABELS | dict.fromkeys(BARE, "")
    make_cohort(
        tmp_path / "some.h5ad",
        labels=list(labels.values()),
        case_ids=list(labels),
        obs={"site": [case_id[5:7] for case_id in labels]},
    )
    return lambda *words: gimp("--adata", "some.h5ad", *words)


def test_an_empty_class_is_refused_until_the_user_says_what_it_means(partly):
    before = names()

    result = partly("--folds", "3")

    assert result.exit_code == 3
    assert "7 of 68 cases have no value in obs['label'] of 'some.h5ad'" in result.stderr
    assert "--unlabelled use or drop" in result.stderr
    assert names() == before


def test_cases_without_a_class_train_in_every_fold_but_beside_their_own_patient(partly):
    words = ("--folds", "3", "--repeats", "2")
    dropped = partly(*words, "--unlabelled", "drop", "-o", "drop.csv")
    used = partly(*words, "--unlabelled", "use", "-o", "use.csv")

    assert dropped.exit_code == used.exit_code == 0, dropped.output + used.output
    assert "7 of 68 cases have no class and are left out: 'TCGA-05-0005', 'TC" in dropped.stderr
    assert "In addition, train has 6 to 7 cases without a class." in used.stdout
    assert "no class" not in used.stderr
    plain, larger = (read_folds(Path(name)) for name in ("drop.csv", "use.csv"))
    for one, other in zip(plain, larger, strict=True):
        assert set(one.parts) == {*LABELS} - {*BARE}
        added = {*BARE[:-1]}
        if one.parts[CASES[0]] == "train":
            added.add(BARE[-1])
        assert other.parts == {**one.parts, **dict.fromkeys(added, "train")}
    assert len({one.parts[CASES[0]] for one in plain}) > 1


@pytest.mark.parametrize("option", [["--by-site"], ["--site-key", "site"]])
def test_a_site_of_val_or_test_has_no_training_case_without_a_class_either(partly, option):
    result = partly("--folds", "3", *option, "--unlabelled", "use", "--json")

    counts = {
        one["fold"]: one["train"]["n_unlabelled"] for one in json.loads(result.stdout)["folds"]
    }
    for one in read_folds(Path("splits.csv")):
        sites = [{case_id[5:7] for case_id in one.of(part)} for part in ("train", "val", "test")]
        assert sum(map(len, sites)) == len(set().union(*sites)) == 12
        trained = [case_id for case_id in one.of("train") if case_id in BARE]
        assert counts[one.fold] == len(trained) < len(BARE)
        assert "TCGA-99-9999-01A" in trained


def test_a_table_with_an_empty_class_is_refused_as_a_training_does(gimp):
    rows = "".join(f"{name},{LABELS[name]}\n" for name in CASES[:60])
    Path("labels.csv").write_text(f"case_id,label\n{rows}{CASES[60]},\n")
    before = names()

    refused = gimp("--adata", "genes.h5ad", "--labels", "labels.csv")
    assert refused.exit_code == 3
    assert "1 of 61 cases have no value in column 'label' of 'labels.csv'" in refused.stderr
    assert names() == before

    used = gimp("--adata", "genes.h5ad", "--labels", "labels.csv", "--unlabelled", "use")
    assert used.exit_code == 0, used.output
    trained = read_splits(Path("splits.csv")).of("train")
    assert set(CASES[60:]) <= set(trained)  # named without a class, or not named


def test_another_programs_table_may_name_cases_without_a_class(partly):
    parts = ("train", "val", "test")
    rows = "".join(f"{case_id},{parts[n % 3]}\n" for n, case_id in enumerate(CASES))
    Path("theirs.csv").write_text(f"case_id,split\n{rows}")

    result = partly("--from", "theirs.csv", "--unlabelled", "drop")

    assert result.exit_code == 0, result.output
    assert "7 of 68 cases have no class and are left out" in result.stderr
    assert "are not cases of the cohort" not in result.stderr
    assert set(read_splits(Path("splits.csv")).parts) == set(CASES) - set(BARE)


def test_a_big_site_is_warned_of_by_name(tmp_path, gimp):
    sites = ["big" if place < 30 else f"h{place}" for place in range(66)]
    make_cohort(
        tmp_path / "b.h5ad", labels=list(LABELS.values()), case_ids=CASES, obs={"site": sites}
    )

    result = gimp("--adata", "b.h5ad", "--folds", "3", "--site-key", "site")

    assert result.exit_code == 0, result.output
    assert "site 'big' alone holds 15 of 33 cases of 'LUAD'" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no cases to split"),
        (
            ["--adata", "genes.h5ad", "--from", "x.csv", "--folds", "3"],
            "so --folds cannot be used with it",
        ),
        (
            ["--adata", "genes.h5ad", "--from", "x.csv", "--by-site"],
            "so --by-site cannot be used with it",
        ),
        (["--adata", "genes.h5ad", "--by-site", "--site-key", "site"], "both define the sites"),
        (["--from", "x.csv", "--val-as-test"], "--val-as-test needs"),
        (["--adata", "genes.h5ad", "--val-share", "0.3"], "--val-share needs"),
        (["--from", "x.csv", "--unlabelled", "use"], "--unlabelled use needs"),
        (["--adata", "x", "--format", "clam", "--unlabelled", "use"], "--unlabelled use needs"),
        (["--adata", "genes.h5ad", "--folds", "1"], "folds = 1 is out of range"),
        (["--adata", "genes.h5ad", "--format", "clma"], "Did you mean 'clam'?"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(gimp, words, message):
    before = names()

    result = gimp(*words)

    assert result.exit_code == 2
    assert message in result.stderr
    assert names() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adata", "nowhere.h5ad"], "nowhere.h5ad"),
        (["--adata", "genes.h5ad", "--label-key", "labels"], "did you mean 'label'"),
        (["--adata", "genes.h5ad", "--site-key", "sites"], "did you mean 'site'"),
        (["--adata", "genes.h5ad", "--folds", "40"], "class 'LUAD' has 33 cases"),
        (["--adata", "genes.h5ad", "--folds", "12", "--by-site"], "come from 11 sites"),
        (["--adata", "genes.h5ad", "--from", "nowhere.csv"], "nowhere.csv"),
        (
            ["--adata", "genes.h5ad", "--from", "strange.csv"],
            "none of its names is a case of the cohort",
        ),
        (["--from", "twice.csv"], "1 patient is in two parts"),
        (["--from", "noval.csv"], "the part 'val' is empty"),
        (["--from", "names.csv"], "unknown part 'valid', did you mean 'val'"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(gimp, words, message):
    Path("strange.csv").write_text(",train,val\n0,A,B\n")
    Path("twice.csv").write_text("case_id,split\nTCGA-05-4244-01A,train\nTCGA-05-4244-11A,val\n")
    Path("noval.csv").write_text("case_id,split\nA,train\nB,test\n")
    Path("names.csv").write_text("case_id,split\nA,train\nB,valid\n")
    before = names()

    result = gimp(*words)

    assert result.exit_code == 3, result.output
    assert message in result.stderr
    assert names() == before
