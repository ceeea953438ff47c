"""What is drawn from a case, and how cases become a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gimp_plugin.config import FinetuneConfig, PretrainConfig
from gimp_plugin.data.batches import load, subset_draw, window_draw
from gimp_plugin.data.cases import Case, all_patches, draw_subset, draw_window, generator
from gimp_plugin.storage.bags import BagWriter, read_info

DIM = 5


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
        return Case(case_id=case_id, label=0, bags=tuple(bags))

    return make


def every_patch(case, rng):
    return all_patches(case)


def rng():
    return np.random.default_rng(7)


def test_a_window_is_contiguous_and_inside_one_slide(make_case):
    case = make_case(19, 31)

    for epoch in range(30):
        patches = draw_window(case, 11, generator(0, epoch, "case"))
        values = patches.features[:, 0]

        assert len(values) == 11
        assert (np.diff(values) == 1).all()
        assert values[0] // 100 == values[-1] // 100


def test_windows_reach_every_start_and_prefer_the_larger_slide(make_case):
    case = make_case(10, 30)

    firsts = [
        draw_window(case, 4, generator(0, epoch, "case")).features[0, 0] for epoch in range(600)
    ]

    assert {float(first) for first in firsts if first < 100} == set(map(float, range(7)))
    assert {float(first) for first in firsts if first >= 100} == set(map(float, range(100, 127)))
    assert 0.68 < np.mean(np.array(firsts) >= 100) < 0.82


def test_a_bag_shorter_than_the_window_is_taken_whole_or_tiled(make_case):
    case = make_case(3)

    whole = draw_window(case, 7, rng())
    tiled = draw_window(case, 7, rng(), tiled=True)

    assert whole.features[:, 0].tolist() == [0, 1, 2]
    assert tiled.features[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert tiled.source.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_subset_keeps_the_order_and_says_which_slide(make_case):
    case = make_case(13, 29)

    patches = draw_subset(case, 0.4, 0.5, rng(), max_patches=1000)
    values = patches.features[:, 0]

    assert 17 <= len(values) <= 21
    assert (np.diff(values) > 0).all()
    assert patches.slide.tolist() == (values // 100).astype(int).tolist()


def test_a_subset_is_never_empty_and_never_larger_than_asked(make_case):
    assert len(draw_subset(make_case(1), 0.1, 0.1, rng(), max_patches=9).features) == 1
    assert len(draw_subset(make_case(40), 1.0, 1.0, rng(), max_patches=9).features) == 9


def test_all_patches_are_the_slides_end_to_end(make_case):
    patches = all_patches(make_case(3, 1, 2))

    assert patches.features[:, 0].tolist() == [0, 1, 2, 100, 200, 201]
    assert patches.slide.tolist() == [0, 0, 0, 1, 2, 2]


def test_a_batch_is_padded_with_zeros_that_are_not_valid(make_case):
    cases = [make_case(2, case_id="a"), make_case(5, case_id="b")]

    (batch,) = load(cases, [[1, 0]], every_patch, feature_dim=DIM, seed=0, epoch=0)

    assert batch.case.tolist() == [1, 0]
    assert batch.features.shape == (2, 5, DIM)
    assert batch.valid.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert batch.features[1, 2:].eq(0).all()


def test_a_case_without_slides_gets_one_patch_of_zeros(make_case):
    cases = [make_case(2, case_id="a"), Case(case_id="b", label=0)]

    (batch,) = load(cases, [[0, 1]], every_patch, feature_dim=DIM, seed=0, epoch=0)

    assert batch.valid.tolist() == [[True, True], [True, False]]
    assert batch.features[1].eq(0).all()


@pytest.mark.parametrize(
    "draw", [window_draw(PretrainConfig(subsequence_length=6)), subset_draw(FinetuneConfig())]
)
def test_loader_processes_do_not_change_a_batch(make_case, draw):
    cases = [make_case(size, case_id=f"c{size}") for size in (9, 14, 23, 31)]
    order = [[0, 3], [2], [1, 0]]

    alone = list(load(cases, order, draw, feature_dim=DIM, seed=1, epoch=2))
    together = list(load(cases, order, draw, feature_dim=DIM, seed=1, epoch=2, num_workers=2))

    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.case, other.case)


def test_what_is_drawn_from_a_case_depends_on_seed_epoch_and_case_only(make_case):
    cases = [make_case(50, case_id="a"), make_case(50, case_id="b")]
    draw = subset_draw(FinetuneConfig())

    def drawn(order, seed=0, epoch=0):
        batches = load(cases, order, draw, feature_dim=DIM, seed=seed, epoch=epoch)
        return next(batches).features[0, :, 0].tolist()

    assert drawn([[0]])[:9] == drawn([[0, 1]])[:9]
    assert drawn([[0]])[:9] != drawn([[1]])[:9]
    assert drawn([[0]])[:9] != drawn([[0]], epoch=1)[:9]
    assert drawn([[0]])[:9] != drawn([[0]], seed=1)[:9]


def test_an_unreadable_bag_is_named_with_its_case(make_case):
    case = make_case(4)
    case.bags[0].path.unlink()

    with pytest.raises(Exception, match=r"case-0\.h5") as caught:
        list(load([case], [[0]], every_patch, feature_dim=DIM, seed=0, epoch=0))

    assert "'case'" in caught.value.__notes__[0]
