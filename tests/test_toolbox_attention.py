"""Attention of a slide as scores, classes and places, and the folder that outputs move into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gimp_plugin.errors import BagError
from gimp_plugin.explain.attention import CLASSES, SlideAttention, place_of, split_by_slide
from gimp_plugin.storage.bags import BagInfo, BagWriter, read_info
from gimp_plugin.toolbox.geojson import write_geojson
from gimp_plugin.toolbox.outputs import MANIFEST, moved_in


def slide_attention(attention):
    """A slide whose patches lie side by side."""
    corners = np.stack([np.arange(len(attention)) * 7, np.full(len(attention), 3)], axis=1)
    return SlideAttention(
        slide_id="a",
        case_id="b",
        attention=np.array(attention, np.float32),
        corners=corners.astype(np.int32),
        side=7,
        probabilities={"LUAD": 0.25, "LUSC": 0.75},
    )


def bag_of(n_patches):
    return BagInfo(path=Path("a.h5"), slide_id="a", n_patches=n_patches, dim=3)


def test_scores_are_ranks_and_equals_share_one():
    found = slide_attention([0.5, -2.0, 9.0, 0.5])

    assert found.scores().tolist() == [2.5 / 4, 1 / 4, 1.0, 2.5 / 4]
    assert found.predicted == "LUSC"
    assert found.boxes()[2].tolist() == [14, 3, 21, 10]


def test_a_slide_of_one_patch_has_a_score_of_1():
    assert slide_attention([-0.25]).scores().tolist() == [1.0]


def test_the_slides_of_a_case_get_multiples_of_an_even_share():
    attention = np.array([0.5, 0.25, 0.125, 0.125, 0.0], np.float32)

    one, two = split_by_slide(attention, [bag_of(2), bag_of(3)])

    assert one.tolist() == [2.5, 1.25]
    assert two.tolist() == [0.625, 0.625, 0.0]


def test_a_bag_that_does_not_tell_the_size_of_its_patches_has_no_overlay(tmp_path):
    with BagWriter(tmp_path / "a.h5", dim=3, attributes={}) as writer:
        writer.append(np.ones((5, 3), np.float16), np.zeros((5, 2), np.int32))

    with pytest.raises(BagError, match=r"a.h5' does not say how large its patches are"):
        place_of(read_info(tmp_path / "a.h5"))


def test_all_fifths_of_many_patches_are_equally_full(tmp_path):
    values = np.random.default_rng(0).normal(size=35)

    write_geojson(tmp_path / "a.geojson", slide_attention(values))

    text = (tmp_path / "a.geojson").read_text()
    assert [text.count(f'"{name}"') for name, _ in CLASSES] == [7] * 5


def test_geojson_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text("of before")

    with pytest.raises(ValueError, match="JSON compliant"):
        write_geojson(path, slide_attention([0.5, np.inf]))

    assert path.read_text() == "of before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.geojson"]


def test_a_damaged_list_of_outputs_makes_nothing_ours(tmp_path):
    for text in (
        "{",
        "[]",
        '{"format": "gimp.predictor"}',
        '{"format": "gimp.predictor", "files": 3}',
    ):
        (tmp_path / MANIFEST).write_text(text)
        (tmp_path / "a.db").write_text("whose?")

        with (
            pytest.raises(ValueError, match=r"gimp_predictor\.json' already exists and is not"),
            moved_in(tmp_path, ["a.db"], overwrite=True),
        ):
            pass
