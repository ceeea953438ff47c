"""Where patches lie on each kind of grid, against plain loops, and what the encoder gets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gimp_plugin.config import ExtractionConfig, geometry_values
from gimp_plugin.errors import ConfigError
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.geometry import Geometry
from gimp_plugin.slides.grids import ORDERS, tissue_patches
from gimp_plugin.slides.patches import read_batches
from gimp_plugin.slides.plan import make_plan, request_for
from gimp_plugin.slides.sources import open_source
from gimp_plugin.slides.tissue import NoTissueError, TissueMask, tissue_mask
from tests import naive_clam
from tests.slide_factory import make_slide
from tests.test_slides_tissue_clam import Small, blobs


def geometry(size, step):
    return Geometry(
        level=0, patch_size=size, patch_size_read=size, patch_size_level0=size, stride_level0=step,
        mpp=0.25,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("size", "step"), [(512, 512), (301, 217)])
def test_patches_around_contours_are_those_of_a_loop(seed, size, step):
    picture = blobs(seed)
    mask = tissue_mask(Small(picture), mpp=0.25, method="clam")

    kept = tissue_patches(
        mask,
        width=13888,
        height=11072,
        geometry=geometry(size, step),
        min_tissue=0,
        grid="contours",
    )

    pieces = naive_clam.segment(picture, downsample=64)
    expected = naive_clam.patches(pieces, downsample=64, size=size, step=step)
    assert kept.n_regions == len(pieces)
    start = 0
    for corners in expected:  # piece by piece, in each by rows
        mine = kept.coords[start : start + len(corners)].tolist()
        assert mine == sorted(map(list, corners), key=lambda corner: (corner[1], corner[0]))
        start += len(corners)
    assert start == len(kept.coords) > 50


def test_patches_around_contours_of_a_ring_leave_its_hole_out():
    picture = np.full((300, 300, 3), 243, np.uint8)
    picture[20:280, 20:280] = (200, 120, 170)
    picture[80:220, 80:220] = 243
    mask = tissue_mask(Small(picture), mpp=0.25, method="clam")

    kept = tissue_patches(
        mask, width=19200, height=19200, geometry=geometry(256, 256), min_tissue=0, grid="contours"
    )

    middles = (kept.coords + 128) / 64
    pieces = naive_clam.segment(picture, downsample=64)
    (expected,) = naive_clam.patches(pieces, downsample=64, size=256, step=256)
    assert len(middles) == len(expected)
    assert not (np.abs(middles - 150) < 68).all(axis=1).any()


def test_a_line_of_tissue_has_no_patches_of_its_own():
    mask = np.zeros((90, 110), bool)
    mask[10, 10:12] = True

    with pytest.raises(NoTissueError, match="no patch lies in a piece of tissue"):
        tissue_patches(
            TissueMask(mask, (1 / 64, 1 / 64)), width=7040, height=5760,
            geometry=geometry(256, 256), min_tissue=0, grid="contours",
        )  # fmt: skip


@pytest.mark.parametrize(("size", "step"), [(96, 96), (96, 70), (96, 130)])
def test_patches_that_cover_a_slide_begin_inside_it(size, step):
    rng = np.random.default_rng(5)
    mask = TissueMask(rng.random((29, 41)) < 0.02, (1 / 16, 1 / 16))
    width, height = 41 * 16, 29 * 16

    kept = tissue_patches(
        mask, width=width, height=height, geometry=geometry(size, step), min_tissue=0, grid="cover"
    )

    def edges(side):
        overlap, number, found = size - step, 0, []
        while (edge := number * size - overlap * max(0, number - 1)) < side:
            found.append(edge)
            number += 1
        return found

    def touches(x, y):
        def pixels(start):
            return slice(int(np.rint(start / 16)), max(int(np.rint((start + size) / 16)), 1))

        return mask.mask[pixels(y), pixels(x)].any()

    expected = {(x, y) for x in edges(width) for y in edges(height) if touches(x, y)}
    assert set(map(tuple, kept.coords.tolist())) == expected
    assert max(x for x, _ in expected) + size > width


@pytest.mark.parametrize("suffix", [".svs", ".png"])
def test_what_lies_beyond_the_edge_is_white(tmp_path, suffix):
    pixels = make_slide(tmp_path / "a.svs", (300, 260), tissue=[(90, 70, 210, 190)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = ExtractionConfig(patch_size=128, grid="cover", min_tissue=0)

    plan, patches = plan_and_pixels(tmp_path / f"a{suffix}", config)

    white = np.full((400, 400, 3), 255, np.uint8)
    white[:260, :300] = pixels
    assert [256, 256] in plan.coords.tolist()
    np.testing.assert_array_equal(
        patches, [white[y : y + 128, x : x + 128] for x, y in plan.coords]
    )


def test_patches_are_resized_as_torchvision_resizes_pictures(tmp_path):
    from torchvision.transforms import Resize

    pixels = make_slide(tmp_path / "a.svs", (700, 600))
    config = ExtractionConfig(patch_size=256, input_size=224)

    plan, patches = plan_and_pixels(tmp_path / "a.svs", config)

    assert patches.shape[1:] == (224, 224, 3)
    expected = [
        np.asarray(Resize(224)(Image.fromarray(pixels[y : y + 256, x : x + 256])))
        for x, y in plan.coords
    ]
    np.testing.assert_array_equal(patches, expected)


def plan_and_pixels(path, config):
    request = request_for(SlideFile(path, "a"), config, slide_mpp=0.5, batch_size=4)
    with open_source(path) as source:
        plan = make_plan(source, request)
        batches = list(read_batches(source, plan, batch_size=4))
    return plan, np.concatenate([batch.pixels for batch in batches])


def test_each_geometry_is_a_configuration():
    clam = ExtractionConfig(**geometry_values("clam"))
    paper = ExtractionConfig(**geometry_values("paper"))
    trident = ExtractionConfig(**geometry_values("trident"))

    assert (clam.tissue, clam.grid, clam.patch_size, clam.input_size) == (
        "clam", "contours", 256, 224,
    )  # fmt: skip
    assert (paper.input_size, paper.mpp) == (0, 0.5)
    assert (trident.tissue, trident.grid, trident.min_tissue) == ("otsu", "cover", 0.0)
    assert {clam.grid, paper.grid, trident.grid} < ORDERS.keys()
    with pytest.raises(ConfigError, match="did you mean 'clam'"):
        geometry_values("clamm")
