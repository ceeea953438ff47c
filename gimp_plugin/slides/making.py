"""Making the bag of one slide: read in another process, encoded here, written as it comes."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from tqdm import tqdm

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import SlideError
from gimp_plugin.slides import description
from gimp_plugin.slides.diagnosis import fingerprint, state
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.folder import BagFolder
from gimp_plugin.slides.plan import ReadRequest, SlidePlan
from gimp_plugin.slides.reading import Reading, SlideReaders
from gimp_plugin.storage.bag_writer import BagWriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedSlide:
    """A slide that is being read while its lock is held.

    Parameters
    ----------
    slide
        The slide.
    fingerprint, state
        What it was when the reading began.
    reading
        Where its patches come from.
    resources
        Closes the reading and gives the lock back.
    """

    slide: SlideFile
    fingerprint: str
    state: tuple[tuple[int, int], ...]
    reading: Reading
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
        Where the bags go.
    config
        What decides them.
    mpps
        What the user says of each slide's resolution; 0 for nothing.
    batch_size
        Patches a batch; 0 chooses by the device.
    timeout_s
        How long reading one slide may keep the encoder waiting, in total.
    """

    def __init__(
        self,
        readers: SlideReaders,
        encoding: Encoding,
        *,
        folder: BagFolder,
        config: ExtractionConfig,
        mpps: Mapping[str, float],
        batch_size: int,
        timeout_s: float,
    ) -> None:
        self._readers = readers
        self._encoding = encoding
        self._folder = folder
        self._config = config
        self._mpps = mpps
        self._batch_size = batch_size or encoding.batch_size
        self._timeout_s = timeout_s
        self._shared = description.fixed_attributes(
            config, encoding.encoder, precision=encoding.precision
        )

    def start(self, slide: SlideFile) -> StartedSlide | None:
        """Lock a slide and begin to read it.

        Parameters
        ----------
        slide
            The slide.

        Returns
        -------
        The slide being read; None when another process has made its bag meanwhile.
        """
        with ExitStack() as resources:
            resources.enter_context(self._folder.locked(slide))
            now, print_ = state(slide.path), fingerprint(slide.path)
            mpp = self._mpps[slide.slide_id]
            if self._folder.holds(slide, print_, mpp=mpp):
                return None
            request = request_for(slide, self._config, slide_mpp=mpp, batch_size=self._batch_size)
            reading = self._readers.read(request, timeout_s=self._timeout_s)
            resources.enter_context(closing(reading))
            return StartedSlide(
                slide=slide,
                fingerprint=print_,
                state=now,
                reading=reading,
                resources=resources.pop_all(),
            )

    def finish(self, started: StartedSlide) -> int:
        """Encode what is read and write the bag.

        Parameters
        ----------
        started
            What `start` gave; it is closed in any case.

        Returns
        -------
        Number of patches.

        Raises
        ------
        SlideError
            If the slide changed while it was read.
        """
        start = time.monotonic()
        with started.resources:
            slide = started.slide
            plan = started.reading.plan()
            if plan.anisotropic:
                logger.warning("%s: mpp=%g in x, %g in y", slide.slide_id, plan.mpp_x, plan.mpp_y)
            with self._writer(started, plan) as bag, _progress(slide, plan) as shown:
                for coords, patches in started.reading.batches(plan):
                    bag.append(self._encoding(patches), coords)
                    shown.update(len(patches))
                if state(slide.path) != started.state:
                    problem = f"{str(slide.path)!r} changed while it was read"
                    raise SlideError(problem, hint="run the command again when it is whole")
        seconds = time.monotonic() - start
        logger.info(
            "%s: %d patches, tissue regions: %d, %.1f s (%.0f patches/s)",
            slide.slide_id, len(plan.coords), plan.n_regions, seconds, len(plan.coords) / seconds,
        )  # fmt: skip
        return len(plan.coords)

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


def request_for(
    slide: SlideFile, config: ExtractionConfig, *, slide_mpp: float, batch_size: int
) -> ReadRequest:
    """What shall be read from a slide.

    Parameters
    ----------
    slide
        The slide.
    config
        What decides its bag.
    slide_mpp
        Its resolution where it does not state it; 0 when unknown.
    batch_size
        Patches a batch; 0 gives the plan only.

    Returns
    -------
    The request.
    """
    return ReadRequest(
        path=str(slide.path.absolute()),
        mpp=config.mpp,
        patch_size=config.patch_size,
        stride=config.stride or config.patch_size,
        tissue=config.tissue,
        min_tissue=config.min_tissue,
        slide_mpp=slide_mpp,
        batch_size=batch_size,
    )


def _progress(slide: SlideFile, plan: SlidePlan) -> tqdm[None]:
    """Bar of one slide's patches, on a terminal."""
    return tqdm(
        total=len(plan.coords),
        desc=slide.slide_id[:40],
        unit=" patches",
        leave=False,
        file=sys.stderr,
        disable=sys.stderr is None or not sys.stderr.isatty(),
    )
