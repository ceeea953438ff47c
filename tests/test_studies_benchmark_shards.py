"""`gimp benchmark --shard`: one comparison by several processes."""

from __future__ import annotations

import pytest

from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark.cells import Method
from gimp_plugin.studies.benchmark.folder import Place
from gimp_plugin.studies.benchmark.methods import METHODS, chosen
from gimp_plugin.studies.benchmark.shards import Shard, working
from tests.benchmark_factory import benchmark, evaluations, files, tables
from tests.study_factory import make_study

pytestmark = pytest.mark.timeout(300)
N_CASES = 16
QUICK = ("--methods", "logistic-genes,logistic-bag")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    return make_study(folder, n_cases=N_CASES, obs={"fold": fold})


@pytest.mark.parametrize("n", [1, 2, 3, 7, 200])
def test_shards_have_each_cell_once_and_what_it_needs(n):
    names = chosen(["all", "swapped"])
    places = [Place(name, fold, seed) for seed in (0, 1) for fold in "ab" for name in names]

    shards = [Shard(number, n).of(places) for number in range(n)]

    assert sorted(map(str, sum(shards, ()))) == sorted(map(str, places))
    for own in shards:
        assert list(own) == [place for place in places if place in own]
        for place in own:
            needs = METHODS[place.method].needs
            assert {Place(need, place.fold, place.seed) for need in needs} <= set(own)
    sizes = [len(own) for own in shards]
    assert max(sizes) - min(sizes) <= 3 * 4  # the largest kin has 3 cells, there are 4 rounds


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("names", [["gimp", "gimp-none"], ["gimp", "abmil", "gimp-none", "snn"]])
def test_shards_share_the_folds_of_each_method(n, names):
    places = [Place(name, fold, seed) for seed in (0, 1) for fold in "abcd" for name in names]

    shards = [Shard(number, n).of(places) for number in range(n)]

    for name in names:
        sizes = [sum(place.method == name for place in own) for own in shards]
        assert max(sizes) - min(sizes) <= 1
    sizes = [len(own) for own in shards]
    assert max(sizes) - min(sizes) <= 1


def test_shards_in_any_order_end_with_the_tables_of_one_process(source, tmp_path):
    whole = benchmark(source, tmp_path / "whole", *QUICK)
    first = benchmark(source, tmp_path / "s", *QUICK, "--shard", "1/2")
    second = benchmark(source, tmp_path / "s", *QUICK, "--shard", "0/2")
    before = files(tmp_path / "s" / "cells")
    last = benchmark(source, tmp_path / "s", *QUICK)

    assert [one.exit_code for one in (whole, first, second, last)] == [0, 0, 0, 0]
    assert first.stdout.endswith("s: done, 2 of 4 cells are done\n")
    assert "1 of 2 folds: the others are not done." in first.stdout
    assert "[2/2] " in first.stderr
    assert second.stdout.endswith("s: done, 4 of 4 cells are done\n")
    assert last.stdout.endswith("s: nothing to do\n")
    assert files(tmp_path / "s" / "cells") == before
    assert tables(tmp_path / "s") == tables(tmp_path / "whole")


def test_a_shard_answers_for_its_own_failures(source, tmp_path, monkeypatch):
    def train(_cell):
        raise ValueError("no luck")

    monkeypatch.setitem(METHODS, "broken", Method(name="broken", summary="fails", train=train))
    words = ("--methods", "logistic-genes,broken", "--fold", 0)

    broken = benchmark(source, tmp_path / "s", *words, "--shard", "1/2")
    sound = benchmark(source, tmp_path / "s", *words, "--shard", "0/2")
    report = benchmark(source, tmp_path / "s", *words, "--report-only")

    assert [one.exit_code for one in (broken, sound, report)] == [3, 0, 4]
    assert "none of 2 cells could be done: no luck" in broken.stderr
    assert [row["item"] for row in read_csv(tmp_path / "s" / "failures.csv")] == [
        "broken, fold 0, seed 0"
    ]
    found = evaluations(tmp_path / "s")
    assert (found["logistic-genes"]["n_done"], found["broken"]["n_done"]) == (1, 0)


@pytest.mark.parametrize(
    ("busy", "words", "code"),
    [
        (Shard(0, 2), ("--shard", "0/2"), 6),
        (Shard(0, 2), ("--shard", "1/3"), 6),
        (Shard(0, 2), (), 6),
        (None, ("--shard", "0/2"), 6),
        (None, (), 6),
        (Shard(0, 2), ("--shard", "1/2"), 0),
    ],
)
def test_who_may_work_beside_whom(source, tmp_path, busy, words, code):
    with working(tmp_path / "s", busy):
        result = benchmark(source, tmp_path / "s", *QUICK[:1], "logistic-genes", *words)

    assert result.exit_code == code, result.stderr
    assert ("another process is writing to" in result.stderr) == (code == 6)
    assert (tmp_path / "s" / "study.json").exists() == (code == 0)


@pytest.mark.parametrize("text", ["2/2", "3/2", "1", "a/b", "1/0", "-1/2", "0/2/3"])
def test_what_is_no_shard_is_refused_before_anything_is_written(source, tmp_path, text):
    result = benchmark(source, tmp_path / "s", *QUICK, f"--shard={text}")

    assert result.exit_code == 2
    assert f"{text!r} is not a shard, expected I/N" in result.stderr
    assert not (tmp_path / "s").exists()


def test_tables_alone_are_of_all_shards(source, tmp_path):
    result = benchmark(source, tmp_path / "s", *QUICK, "--shard", "0/2", "--report-only")

    assert result.exit_code == 2
    assert "--report-only makes the tables of all shards" in result.stderr
