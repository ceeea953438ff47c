"""Patches of a slide: which, where, and their pixels."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.patches import read_batches
from gimp_plugin.slides.plan import ReadRequest, SlidePlan, make_plan
from gimp_plugin.slides.sources import open_source
from tests.slide_factory import make_slide


def request(path, **changes):
    defaults = {
        "mpp": 0.5, "patch_size": 128, "stride": 128, "tissue": "otsu", "min_tissue": 0.25,
        "slide_mpp": 0.0, "batch_size": 5,
    }  # fmt: skip
    return ReadRequest(path=str(path), **(defaults | changes))


def plan_and_pixels(path, **changes):
    with open_source(path) as source:
        plan = make_plan(source, request(path, **changes))
        return plan, np.concatenate(
            [batch.pixels for batch in read_batches(source, plan, batch_size=5)]
        )


def test_patches_of_a_native_slide_are_its_pixels(tmp_path):
    pixels = make_slide(tmp_path / "a.svs", (1100, 900))

    plan, patches = plan_and_pixels(tmp_path / "a.svs")

    assert len(plan.coords) > 20
    expected = [pixels[y : y + 128, x : x + 128] for x, y in plan.coords]
    np.testing.assert_array_equal(patches, expected)


def test_patches_of_a_native_lower_level_are_its_pixels(tmp_path):
    pixels = make_slide(tmp_path / "a.svs", (2200, 1800), mpp=0.25, levels=(1, 2))
    level = cv2.resize(pixels, (1100, 900), interpolation=cv2.INTER_AREA)

    plan, patches = plan_and_pixels(tmp_path / "a.svs")

    assert plan.geometry.level == 1
    assert set(np.diff(np.unique(plan.coords[:, 0])).tolist()) == {256}
    expected = [level[y // 2 : y // 2 + 128, x // 2 : x // 2 + 128] for x, y in plan.coords]
    np.testing.assert_array_equal(patches, expected)


def test_other_resolutions_are_reduced_by_area(tmp_path):
    pixels = make_slide(tmp_path / "a.svs", (2200, 1800), mpp=0.3, levels=(1, 4))

    plan, patches = plan_and_pixels(tmp_path / "a.svs")

    side = round(128 * 0.5 / 0.3)
    expected = [
        cv2.resize(pixels[y : y + side, x : x + side], (128, 128), interpolation=cv2.INTER_AREA)
        for x, y in plan.coords
    ]
    np.testing.assert_array_equal(patches, expected)


def test_patches_cover_the_tissue_and_nothing_else(tmp_path):
    make_slide(tmp_path / "a.svs", (1280, 1024), tissue=[(256, 256, 512, 256)])

    plan, _ = plan_and_pixels(tmp_path / "a.svs")

    grid = [[x, y] for y in (256, 384) for x in (256, 384, 512, 640)]
    assert plan.coords.tolist() == grid
    assert plan.n_regions == 1


def test_a_stride_below_the_patch_size_gives_overlap(tmp_path):
    make_slide(tmp_path / "a.svs")

    plan, _ = plan_and_pixels(tmp_path / "a.svs", stride=64)

    assert np.diff(np.unique(plan.coords[:, 0])).tolist()[:3] == [64, 64, 64]


def test_a_slide_that_states_half_the_resolution_gives_a_quarter_of_the_patches(tmp_path):
    make_slide(tmp_path / "a.svs", (2048, 2048), mpp=None, tissue=[(0, 0, 2048, 1800)])

    fine, _ = plan_and_pixels(tmp_path / "a.svs", slide_mpp=0.5, tissue="otsu", min_tissue=0.5)
    coarse, _ = plan_and_pixels(tmp_path / "a.svs", slide_mpp=0.25, tissue="otsu", min_tissue=0.5)

    assert coarse.mpp_source == "given"
    assert len(coarse.coords) == pytest.approx(len(fine.coords) / 4, rel=0.1)


def test_a_plan_survives_its_trip_through_json(tmp_path):
    make_slide(tmp_path / "a.svs", power=20)
    plan, _ = plan_and_pixels(tmp_path / "a.svs")

    message = json.loads(json.dumps(plan.to_message()))

    copy = SlidePlan.from_message(message, plan.coords)
    assert replace(copy, coords=None) == replace(plan, coords=None)
    assert copy.coords is plan.coords


def test_a_patch_that_cannot_be_decoded_is_named_by_its_place(tmp_path):
    make_slide(tmp_path / "a.svs")
    plan, _ = plan_and_pixels(tmp_path / "a.svs")

    class Broken:
        info = plan.info

        def read(self, corner, size, *, level):
            raise OSError("not a JPEG")

    x, y = plan.coords[0].tolist()
    with pytest.raises(SlideError, match=rf"patch at \({x}, {y}\) cannot be read: not a JPEG"):
        next(read_batches(Broken(), plan, batch_size=5))


def test_slightly_oblong_pixels_are_noted(tmp_path):
    make_slide(tmp_path / "a.svs")
    plan, _ = plan_and_pixels(tmp_path / "a.svs")

    assert not plan.anisotropic
    oblong = SlidePlan.from_message(plan.to_message() | {"mpp_y": 0.52}, plan.coords)
    assert oblong.anisotropic
