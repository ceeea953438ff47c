"""Forecast of an extraction: patches, bytes and hours, without writing anything."""

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
    """Forecast of an extraction.

    Parameters
    ----------
    n_patches
        Number of patches of each readable slide.
    failures
        Why each of the other slides cannot be read.
    n_bytes
        Bytes of all bags; None if the encoder is not available.
    hours
        Time of the encoder alone, measured on a batch of noise; None if it is not available.
    lacking
        Why the encoder is not available; empty if it is.
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
    """Count the patches of slides and time the encoder; slides with bags count as well.

    Nothing is downloaded: without the encoder's weights, only patches are counted.

    Parameters
    ----------
    slides, config, runtime, options
        As for `extract_features`.

    Returns
    -------
    The forecast.
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
    """Find the encoder; None and the reason if its weights or packages are not installed."""
    try:
        return find_encoder(config, offline=True), ""
    except ResourceError as error:
        return None, error.problem


def _seconds_a_patch(encoding: Encoding, config: ExtractionConfig, *, batch_size: int) -> float:
    """Seconds per patch of the encoder, after a warm-up."""
    n_patches = batch_size or encoding.batch_size
    side = config.input_size or config.patch_size
    shape = (n_patches, side, side, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    encoding(noise)
    start = time.perf_counter()
    for _ in range(TRIALS):
        encoding(noise)
    return (time.perf_counter() - start) / (TRIALS * n_patches)
