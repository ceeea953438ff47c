"""What an extraction would do: patches, bytes and hours, without writing anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.errors import ResourceError, SlideError
from gimp_plugin.slides.diagnosis import check_file
from gimp_plugin.slides.encoders import PatchEncoder, find_encoder
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.extraction import in_shard
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.slides.ledger import as_given
from gimp_plugin.slides.plan import request_for
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.resolutions import given_mpp
from gimp_plugin.storage.bag_writer import bytes_of_bag

TRIALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an extraction would do.

    Parameters
    ----------
    n_patches
        Patches of each slide that can be read.
    failures
        Why each other slide cannot.
    n_bytes
        Bytes of all bags; None where the encoder is not there.
    hours
        Time of the encoder alone, from a batch of noise; None where it is not there.
    lacking
        Why the encoder is not there; empty where it is.
    """

    n_patches: dict[str, int]
    failures: dict[str, str]
    n_bytes: int | None
    hours: float | None
    lacking: str = ""


def forecast(
    slides: Sequence[Path],
    config: ExtractionConfig,
    *,
    runtime: Runtime,
    options: ReadingOptions | None = None,
) -> Forecast:
    """Look at slides and time the encoder; bags that are there already count as well.

    Nothing is downloaded: without the encoder's weights only patches are counted.

    Parameters
    ----------
    slides, config, runtime, options
        As for `extract_features`.

    Returns
    -------
    What it would do.
    """
    options = options or ReadingOptions()
    found = in_shard(find_slides(slides), *options.shard)
    encoder, lacking = _encoder(config)
    n_patches, failures = {}, {}
    with SlideReaders() as readers:
        encoding = None if encoder is None else Encoding(encoder, runtime)
        for slide in found:
            try:
                check_file(slide.path)
                mpp = given_mpp(slide, config, options.slide_mpps)
                request = request_for(slide, config, slide_mpp=mpp, batch_size=0)
                with closing(readers.read(request, timeout_s=options.slide_timeout_s)) as reading:
                    n_patches[slide.slide_id] = len(reading.plan().coords)
            except SlideError as error:
                failures[slide.slide_id] = as_given(str(error), str(slide.path), config.masks)
    if encoder is None or encoding is None:
        return Forecast(
            n_patches=n_patches, failures=failures, n_bytes=None, hours=None, lacking=lacking
        )
    total = sum(n_patches.values())
    return Forecast(
        n_patches=n_patches,
        failures=failures,
        n_bytes=sum(bytes_of_bag(count, encoder.dim) for count in n_patches.values()),
        hours=total * _seconds_a_patch(encoding, config, batch_size=options.batch_size) / 3600,
    )


def _encoder(config: ExtractionConfig) -> tuple[PatchEncoder | None, str]:
    """Find the encoder; None, and why, where its weights or packages are not on this machine."""
    try:
        return find_encoder(config, offline=True), ""
    except ResourceError as error:
        return None, error.problem


def _seconds_a_patch(encoding: Encoding, config: ExtractionConfig, *, batch_size: int) -> float:
    """Time that the encoder takes for a patch, once warm."""
    n_patches = batch_size or encoding.batch_size
    side = config.input_size or config.patch_size
    shape = (n_patches, side, side, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    encoding(noise)
    start = time.perf_counter()
    for _ in range(TRIALS):
        encoding(noise)
    return (time.perf_counter() - start) / (TRIALS * n_patches)
