"""Patches of cases in chunks: all of them, in order, each read when it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gimp_plugin.data import chunks
from gimp_plugin.data.cases import Case, all_patches
from gimp_plugin.data.chunks import load_chunks
from gimp_plugin.storage.bags import BagWriter, read_info

CPU = torch.device("cpu")
DIM = 5


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 4)


@pytest.fixture
def make_case(tmp_path):
    """Factory of cases whose features tell (slide, patch): row p of slide s is 100 s + p."""

    def make(*sizes, case_id="case"):
        bags = []
        for slide, size in enumerate(sizes):
            path = tmp_path / f"{case_id}-{slide}.h5"
            features = (100 * slide + np.arange(size))[:, None] * np.ones((1, DIM))
            with BagWriter(path, dim=DIM, attributes={}) as writer:
                writer.append(features.astype(np.float16), np.zeros((size, 2), np.int32))
            bags.append(read_info(path))
        return Case(case_id=case_id, bags=tuple(bags))

    return make


@pytest.fixture
def cases(make_case):
    """Cases of one slide, of none, and of three."""
    return [
        make_case(9, case_id="a"),
        Case(case_id="b"),
        make_case(4, 1, 6, case_id="c"),
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_chunks_of_a_case_are_all_its_patches_in_their_order(cases, num_workers):
    loaded = [
        (case, list(own)) for case, own in load_chunks(cases, device=CPU, num_workers=num_workers)
    ]

    assert [case.case_id for case, _ in loaded] == ["a", "b", "c"]
    assert [[len(one) for one in own] for _, own in loaded] == [[4, 4, 1], [], [4, 1, 4, 2]]
    for index in (0, 2):
        case, own = loaded[index]
        assert own[0].dtype == torch.float16
        np.testing.assert_array_equal(torch.cat(own).numpy(), all_patches(case).features)


def test_chunks_that_nobody_asks_for_are_not_the_next_case_s(cases):
    firsts = []
    for case, own in load_chunks(cases, device=CPU):
        if case.has_slides:
            firsts.append(next(own)[-1, 0].item())

    assert firsts == [3.0, 3.0]


def test_a_chunk_is_read_when_it_is_asked_for(cases, monkeypatch):
    asked = []

    def spied(bag, start, stop):
        asked.append((bag.slide_id, start, stop))
        return read_features(bag, start, stop)

    read_features = chunks.read_features
    monkeypatch.setattr(chunks, "read_features", spied)
    loaded = load_chunks(cases, device=CPU)

    _, own = next(loaded)
    next(own)
    assert asked == [("a-0", 0, 4)]
    next(own)
    assert asked == [("a-0", 0, 4), ("a-0", 4, 8)]


def test_cases_without_slides_start_no_loader(monkeypatch):
    monkeypatch.setattr(chunks, "DataLoader", None)
    cases = [Case(case_id="a"), Case(case_id="b")]

    assert [list(own) for _, own in load_chunks(cases, device=CPU)] == [[], []]


def test_an_unreadable_bag_is_named_with_its_case(make_case):
    case = make_case(4)
    case.bags[0].path.unlink()

    with pytest.raises(Exception, match=r"case-0\.h5") as caught:
        [list(own) for _, own in load_chunks([case], device=CPU)]

    assert "'case'" in caught.value.__notes__[0]
