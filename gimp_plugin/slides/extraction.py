"""From slides to bags: what is lacking is made, what is there is kept, what fails is listed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.errors import BagError, GimpError, LockedError, SlideError, StaleOutputError
from gimp_plugin.slides import description
from gimp_plugin.slides.diagnosis import check_file, fingerprint
from gimp_plugin.slides.encoders import find_encoder
from gimp_plugin.slides.finding import SlideFile, find_slides
from gimp_plugin.slides.folder import BagFolder
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.resolutions import given_mpps
from gimp_plugin.storage.tables import Failure

if TYPE_CHECKING:
    from gimp_plugin.slides.making import BagMaker, StartedSlide

logger = logging.getLogger(__name__)

SLIDE_TIMEOUT_S = 600.0
WAIT_S = 0.5
STAGES = {"NoTissueError": "tissue", "BagError": "encode", "StaleOutputError": "write"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionResult:
    """What became of the slides.

    Parameters
    ----------
    output
        Folder of the bags.
    done, kept
        Slides whose bags were made now, and those whose bags were there.
    failures
        Slides that failed, and why.
    n_patches
        Patches that were encoded now.
    seconds
        How long it took.
    """

    output: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failures: tuple[Failure, ...]
    n_patches: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self) | {"output": str(self.output)}


def extract_features(
    slides: Sequence[Path],
    config: ExtractionConfig | None = None,
    *,
    output: Path,
    runtime: Runtime | None = None,
    slide_mpps: Mapping[str, float] | None = None,
    batch_size: int = 0,
    slide_timeout_s: float = SLIDE_TIMEOUT_S,
    offline: bool = False,
) -> ExtractionResult:
    """Make a bag of each slide.

    Bags that are complete and current are kept, so the same call goes on where it was stopped and
    ends with the same bytes. A slide that fails does not stop the others: it is listed in
    `failures.csv` in the output folder and tried again by the next call.

    Parameters
    ----------
    slides
        Slide files and folders of slides.
    config
        What decides the bags.
    output
        Folder of the bags.
    runtime
        Device and precision, and whether bags of other inputs may be replaced.
    slide_mpps
        Resolution of single slides where they do not state it, by slide_id.
    batch_size
        Patches a batch; 0 chooses by the device.
    slide_timeout_s
        How long reading one slide may keep the encoder waiting, in total.
    offline
        Do not download weights.

    Returns
    -------
    What became of each slide.
    """
    start = time.monotonic()
    config, runtime = config or ExtractionConfig(), runtime or Runtime()
    found = find_slides(slides)
    encoder = find_encoder(config, offline=offline)
    configuration = description.configuration(config, encoder)
    folder = BagFolder(output, configuration, overwrite=runtime.overwrite)
    folder.check(found)
    ledger = _Ledger(folder)
    mpps = given_mpps(found, config, slide_mpps or {})
    lacking = _lacking(found, ledger, mpps=mpps)
    if lacking:
        with SlideReaders() as readers:
            from gimp_plugin.slides.encoding import Encoding  # torch; the readers start meanwhile
            from gimp_plugin.slides.making import BagMaker

            maker = BagMaker(
                readers,
                Encoding(encoder, runtime),
                folder=folder,
                config=config,
                mpps=mpps,
                batch_size=batch_size,
                timeout_s=slide_timeout_s,
            )
            _make_all(lacking, maker, ledger)
    folder.write_failures(found, ledger.failures)
    return ledger.result(seconds=time.monotonic() - start)


class _Ledger:
    """What has become of the slides so far."""

    def __init__(self, folder: BagFolder) -> None:
        self.folder = folder
        self.done: dict[str, int] = {}
        self.kept: list[str] = []
        self.failures: list[Failure] = []

    def fail(self, slide: SlideFile, error: GimpError) -> None:
        """Note and tell that a slide failed."""
        kind, where = type(error).__name__, repr(str(slide.path))
        message = str(error).replace(repr(str(slide.path.absolute())), where)
        message = message if where in message else f"{where}: {message}"
        logger.error("%s failed: %s", slide.slide_id, message)
        self.failures.append(Failure(slide.slide_id, STAGES.get(kind, "read"), kind, message))

    def result(self, *, seconds: float) -> ExtractionResult:
        """Sum up."""
        return ExtractionResult(
            output=self.folder.path,
            done=tuple(sorted(self.done)),
            kept=tuple(sorted(self.kept)),
            failures=tuple(sorted(self.failures, key=lambda failure: failure.item)),
            n_patches=sum(self.done.values()),
            seconds=seconds,
        )


def _lacking(
    slides: Sequence[SlideFile], ledger: _Ledger, *, mpps: Mapping[str, float]
) -> list[SlideFile]:
    """Slides whose bags are to be made; the others are done, or cannot be slides."""
    lacking = []
    for slide in slides:
        try:
            check_file(slide.path)
            made = ledger.folder.bag(slide).exists()
            mpp = mpps[slide.slide_id]
            current = made and ledger.folder.holds(slide, fingerprint(slide.path), mpp=mpp)
        except (SlideError, StaleOutputError) as error:
            ledger.fail(slide, error)
            continue
        if current:
            ledger.kept.append(slide.slide_id)
        else:
            lacking.append(slide)
    logger.info("%d slides: %d to do, %d done before", len(slides), len(lacking), len(ledger.kept))
    return lacking


def _make_all(slides: Sequence[SlideFile], maker: BagMaker, ledger: _Ledger) -> None:
    """Make bags; a slide that another process works on is waited for at the end."""
    busy: list[SlideFile] = []
    with ExitStack() as everything:
        for started in _one_ahead(_started(slides, maker, ledger, busy=busy, open_=everything)):
            _finish(started, maker, ledger)
        for slide in busy:
            logger.info("%s: another process works on it, waiting", slide.slide_id)
        while busy:
            again: list[SlideFile] = []
            for started in _started(busy, maker, ledger, busy=again, open_=everything):
                _finish(started, maker, ledger)
            busy = again
            time.sleep(WAIT_S if busy else 0)


def _started(
    slides: Iterable[SlideFile],
    maker: BagMaker,
    ledger: _Ledger,
    *,
    busy: list[SlideFile],
    open_: ExitStack,
) -> Iterator[StartedSlide]:
    """Start slides one by one, to be closed with `open_`; those of other processes go to `busy`."""
    for slide in slides:
        try:
            started = maker.start(slide)
        except LockedError:
            busy.append(slide)
        except (SlideError, StaleOutputError) as error:
            ledger.fail(slide, error)
        else:
            if started is None:
                ledger.kept.append(slide.slide_id)
            else:
                open_.push(started.resources)
                yield started


def _finish(started: StartedSlide, maker: BagMaker, ledger: _Ledger) -> None:
    """Make one bag, or note why not."""
    try:
        ledger.done[started.slide.slide_id] = maker.finish(started)
    except (SlideError, BagError) as error:
        ledger.fail(started.slide, error)


def _one_ahead(slides: Iterator[StartedSlide]) -> Iterator[StartedSlide]:
    """Draw each slide while the one before is still in use, so that it is read meanwhile."""
    held: deque[StartedSlide] = deque()
    for slide in slides:
        held.append(slide)
        if len(held) > 1:
            yield held.popleft()
    yield from held
