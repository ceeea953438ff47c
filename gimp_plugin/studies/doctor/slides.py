"""Checks whether slides can be read, and which patch encoders find their weights."""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import GimpError, ResourceError
from gimp_plugin.plugins import registry
from gimp_plugin.slides.encoders import KIND, UNTRAINED, find_encoder, is_family
from gimp_plugin.slides.plan import ReadRequest
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.studies.demo.svs import write_svs
from gimp_plugin.studies.doctor.finding import FAIL, OK, WARN, Finding

SIDE, MARGIN, PATCH, TIMEOUT_S = 1024, 256, 128, 120.0
TISSUE, GLASS = (190, 110, 160), 243
JPEG_ERROR = 5
PACKAGES = {"timm": "timm", "torchvision": "torchvision", "tiatoolbox": "tiatoolbox"}
LIBRARIES = ("openslide", "cv2", "h5py", "tifffile", "imagecodecs")


def libraries() -> Iterator[Finding]:
    """Load the libraries that read slides and write bags."""
    versions = []
    for name in LIBRARIES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            reason = " ".join(str(error).split())
            remedy = "python -m pip install openslide-bin" if name == "openslide" else "install it"
            yield Finding(name="libraries", state=FAIL, detail=f"{name}: {reason}", remedy=remedy)
            continue
        version = getattr(module, "__library_version__", getattr(module, "__version__", "?"))
        versions.append(f"{name} {version}")
    yield Finding(name="libraries", state=OK, detail=", ".join(versions))


def readers() -> Iterator[Finding]:
    """Make a small slide and read it in a reader process, like the extraction."""
    with tempfile.TemporaryDirectory(prefix="gimp-doctor-") as folder:
        path = Path(folder) / "small.svs"
        write_svs(path, _picture())
        request = ReadRequest(
            path=str(path), mpp=0.5, patch_size=PATCH, stride=PATCH, tissue="otsu",
            min_tissue=0.5, slide_mpp=0.0, batch_size=16,
        )  # fmt: skip
        with SlideReaders() as processes:
            reading = processes.read(request, timeout_s=TIMEOUT_S)
            with closing(reading):
                plan = reading.plan()
                patches = np.concatenate([pixels for _, pixels in reading.batches(plan)])
    colour = np.median(patches, axis=(0, 1, 2))  # tissue fills most of the patches
    if np.abs(colour - TISSUE).max() > JPEG_ERROR:
        detail = f"{len(patches)} patches of colour {colour.tolist()}, expected {list(TISSUE)}"
        remedy = "install tiatoolbox and openslide-bin again"
        yield Finding(name="slide", state=FAIL, detail=detail, remedy=remedy)
        return
    detail = f"a small slide was read by {plan.info.reader}: {len(patches)} patches"
    yield Finding(name="slide", state=OK, detail=detail)


def _picture() -> NDArray[np.uint8]:
    """Draw a square of grainy tissue on glass."""
    noise = np.random.default_rng(0).normal(scale=12, size=(SIDE, SIDE, 3))
    picture = np.full((SIDE, SIDE, 3), GLASS, float)
    inner = slice(MARGIN, -MARGIN)
    picture[inner, inner] = TISSUE + noise[inner, inner]
    return np.clip(picture, 0, 255).astype(np.uint8)


def encoders() -> Iterator[Finding]:
    """Look for the weights of each registered patch encoder; nothing is downloaded."""
    for name in registry().names(KIND):
        if name != UNTRAINED:
            yield _family(name) if is_family(name) else _encoder(name)


def _encoder(name: str) -> Finding:
    """Look for one encoder's weights."""
    label = f"encoder {name}"
    try:
        encoder = find_encoder(ExtractionConfig(patch_encoder=name), offline=True)
    except ResourceError as error:
        problem = error.problem.replace(", and --offline forbids the download", "")
        hint = f"they are downloaded on first use; without a network: {error.hint}"
        return Finding(name=label, state=WARN, detail=problem, remedy=hint)
    except GimpError as error:
        remedy = error.hint or "see the message"
        return Finding(name=label, state=FAIL, detail=error.problem, remedy=remedy)
    detail = f"weights {encoder.weights_sha256[:12]}, {encoder.dim}-d, licence {encoder.licence}"
    return Finding(name=label, state=OK, detail=detail)


def _family(name: str) -> Finding:
    """Look for the package that one family needs."""
    label = f"encoder {name}:..."
    package = PACKAGES.get(name)
    if package is None:
        return Finding(name=label, state=OK, detail=registry().component(KIND, name).summary)
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        remedy = f"python -m pip install {package}"
        return Finding(name=label, state=WARN, detail=f"{package} is missing", remedy=remedy)
    return Finding(name=label, state=OK, detail=f"{package} {version}; its weights are not checked")
