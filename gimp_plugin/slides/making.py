"""Make the bag of one slide: read in other processes, encoded here, written as it arrives."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from gimp_plugin import keys
from gimp_plugin.config import ExtractionConfig, ReadingOptions
from gimp_plugin.errors import SlideError
from gimp_plugin.slides import description
from gimp_plugin.slides.diagnosis import fingerprint, state
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.folder import BagFolder
from gimp_plugin.slides.gallery import THUMBNAIL_PX, thumbnail_path, write_thumbnail
from gimp_plugin.slides.ledger import Made
from gimp_plugin.slides.plan import SlidePlan, mask_print, request_for
from gimp_plugin.slides.reading import Reading, SlideReaders
from gimp_plugin.slides.resolutions import given_mpp
from gimp_plugin.storage.atomic import sha256_json
from gimp_plugin.storage.bag_writer import BagWriter

logger = logging.getLogger(__name__)

CUDA_READERS = 8
FLAT_WARNING_BYTES = 4_000_000_000
"""Decoded size of a slide without a pyramid from which to warn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedSlide:
    """A slide that is being read while its lock is held.

    Parameters
    ----------
    slide
        The slide.
    fingerprint, state
        Its fingerprint and file state when reading began.
    reading
        Source of its patches.
    n_readers
        Number of processes that read it.
    resources
        Closes the reading and releases the lock.
    """

    slide: SlideFile
    fingerprint: str
    state: tuple[tuple[int, int], ...]
    reading: Reading
    n_readers: int
    resources: ExitStack


class BagMaker:
    """Makes bags of one configuration.

    Parameters
    ----------
    readers
        Processes that read slides.
    encoding
        The encoder on its device.
    folder
        Folder of the bags.
    config
        Settings that determine the bags.
    options
        How slides are processed.
    num_workers
        Number of processes that read one slide; 0 chooses it by the device.
    """

    def __init__(
        self,
        readers: SlideReaders,
        encoding: Encoding,
        *,
        folder: BagFolder,
        config: ExtractionConfig,
        options: ReadingOptions,
        num_workers: int = 0,
    ) -> None:
        self._readers = readers
        self._encoding = encoding
        self._folder = folder
        self._config = config
        self._options = options
        self._batch_size = options.batch_size or encoding.batch_size
        self._n_readers = num_workers or default_readers(encoding.device.type)
        self._shared = description.fixed_attributes(
            config, encoding.encoder, precision=encoding.precision
        )

    def attempt(self, slide: SlideFile) -> str:
        """Hash what may decide success on a slide but is not in its bag's configuration.

        Parameters
        ----------
        slide
            The slide.

        Returns
        -------
        Hexadecimal digits.
        """
        config = self._config
        masks = str(Path(config.masks).absolute()) if config.masks else ""
        limits = [config.max_bad_patches, self._options.slide_timeout_s]
        tried = [self._mpp(slide), *limits, masks]
        return sha256_json(tried)[:12]

    def start(self, slide: SlideFile, *, n_readers: int = 0) -> StartedSlide | None:
        """Lock a slide and start reading it.

        Parameters
        ----------
        slide
            The slide.
        n_readers
            Number of processes that read it; 0 for the usual number.

        Returns
        -------
        The slide being read; None if another process has made its bag meanwhile.
        """
        n_readers = n_readers or self._n_readers
        with ExitStack() as resources:
            resources.enter_context(self._folder.locked(slide))
            now, print_ = state(slide.path), fingerprint(slide.path)
            mpp = self._mpp(slide)
            if self._folder.holds(
                slide,
                print_,
                mpp=mpp,
                mask_sha256=mask_print(slide, self._config),
                max_bad_patches=self._config.max_bad_patches,
            ):
                return None
            request = request_for(slide, self._config, slide_mpp=mpp, batch_size=self._batch_size)
            if self._options.thumbnails:
                request = replace(request, thumbnail_px=THUMBNAIL_PX)
            timeout_s = self._options.slide_timeout_s
            reading = self._readers.read(request, timeout_s=timeout_s, n_readers=n_readers)
            resources.enter_context(closing(reading))
            return StartedSlide(
                slide=slide,
                fingerprint=print_,
                state=now,
                reading=reading,
                n_readers=n_readers,
                resources=resources.pop_all(),
            )

    def finish(self, started: StartedSlide) -> Made:
        """Encode the patches as they are read, and write the bag.

        Parameters
        ----------
        started
            Result of `start`; it is closed in any case.

        Returns
        -------
        The bag that was made.

        Raises
        ------
        SlideError
            If the slide changed while it was read.
        """
        start = time.monotonic()
        with started.resources:
            slide = started.slide
            try:
                plan = started.reading.plan()
                _warn(slide, plan)
                n_bad = self._write(started, plan)
            except SlideError:
                _check_unchanged(started)  # a file changed while read seems damaged
                raise
            if plan.thumbnail is not None:
                write_thumbnail(self._folder.path, slide.slide_id, plan.thumbnail)
            else:  # a picture of an earlier bag would show other patches
                thumbnail_path(self._folder.path, slide.slide_id).unlink(missing_ok=True)
        return Made(
            n_patches=len(plan.coords) - n_bad,
            n_bad=n_bad,
            n_regions=plan.n_regions,
            seconds=time.monotonic() - start,
        )

    def _write(self, started: StartedSlide, plan: SlidePlan) -> int:
        """Write the bag; return the number of patches that could not be read."""
        slide, encoding = started.slide, self._encoding
        batches = started.reading.batches(plan, allocate=encoding.allocate)
        with self._writer(started, plan) as bag, _progress(slide, plan) as shown:
            for coords, features in encoding.stream(batches):
                bag.append(features, coords)
                shown.update(len(coords))
            n_bad = len(plan.coords) - bag.n_appended
            bag.describe({keys.N_BAD_PATCHES: n_bad})
            _check_unchanged(started)
        return n_bad

    def _mpp(self, slide: SlideFile) -> float:
        """Resolution of a slide given by the user; 0 for none."""
        return given_mpp(slide, self._config, self._options.slide_mpps)

    def _writer(self, started: StartedSlide, plan: SlidePlan) -> BagWriter:
        """Open the bag of a slide."""
        slide = started.slide
        own = description.slide_attributes(slide, plan, fingerprint=started.fingerprint)
        stride = self._config.stride or self._config.patch_size
        return BagWriter(
            self._folder.bag(slide),
            dim=self._encoding.encoder.dim,
            attributes=self._shared | own,
            coords_attributes=description.coords_attributes(slide, plan, stride=stride),
            n_patches=len(plan.coords),
        )


def default_readers(device: str) -> int:
    """Return the number of reading processes per slide: one for a CPU encoder, more for a GPU.

    Parameters
    ----------
    device
        `cpu` or `cuda`.

    Returns
    -------
    At least 1.
    """
    if device == "cpu":
        return 1
    return max(1, min(CUDA_READERS, len(os.sched_getaffinity(0)) - 1))


def _warn(slide: SlideFile, plan: SlidePlan) -> None:
    """Warn of oddities of a slide that is read nevertheless."""
    if plan.anisotropic:
        logger.warning("%s: mpp=%g in x, %g in y", slide.slide_id, plan.mpp_x, plan.mpp_y)
    if plan.info.flat_bytes > FLAT_WARNING_BYTES:
        gigabytes = plan.info.flat_bytes / 1e9
        logger.warning(
            "%s: no pyramid, so all %.1f GB are decoded for the tissue mask, which is slow",
            slide.slide_id, gigabytes,
        )  # fmt: skip


def _check_unchanged(started: StartedSlide) -> None:
    """Refuse a slide that changed while it was read."""
    path = started.slide.path
    if state(path) != started.state:
        problem = f"{str(path)!r} changed while it was read"
        raise SlideError(problem, hint="run the command again when the file is complete")


def _progress(slide: SlideFile, plan: SlidePlan) -> tqdm[None]:
    """Progress bar of one slide's patches, on a terminal."""
    return tqdm(
        total=len(plan.coords),
        desc=slide.slide_id[:40],
        unit=" patches",
        leave=False,
        file=sys.stderr,
        disable=sys.stderr is None or not sys.stderr.isatty(),
    )
