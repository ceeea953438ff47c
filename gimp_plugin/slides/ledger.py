"""The ledger of an extraction: the outcome of each slide."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gimp_plugin.errors import GimpError
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.status import Status
from gimp_plugin.storage.tables import Failure

logger = logging.getLogger(__name__)

STAGES = {
    "NoTissueError": "tissue",
    "TissueMaskError": "tissue",
    "BagError": "encode",
    "StaleOutputError": "write",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionResult:
    """Result of an extraction.

    Parameters
    ----------
    output
        Folder of the bags.
    done, kept
        Slides whose bags were made now, and slides whose bags already existed.
    failures
        Slides that failed, and why.
    n_patches
        Number of patches encoded now.
    seconds
        Duration.
    """

    output: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failures: tuple[Failure, ...]
    n_patches: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"output": str(self.output)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A bag that was made.

    Parameters
    ----------
    n_patches, n_bad
        Numbers of patches in the bag, and of patches that could not be read.
    n_regions
        Number of regions of tissue.
    seconds
        Duration.
    """

    n_patches: int
    n_bad: int
    n_regions: int
    seconds: float


def as_given(message: str, *paths: str) -> str:
    """Replace the absolute paths of readers and workers by paths as the user gave them.

    Parameters
    ----------
    message
        Message of an error.
    paths
        Paths as given; empty ones are ignored.

    Returns
    -------
    The message.
    """
    for path in filter(None, paths):
        message = message.replace(str(Path(path).absolute()), path)
    return message


class Ledger:
    """Outcomes of the slides so far.

    Parameters
    ----------
    status
        The log of the folder.
    n_slides
        Number of slides to process.
    masks
        Folder of masks as the user gave it, if any.
    told
        Called with each slide whose bag was made, and its number of patches.
    """

    def __init__(
        self,
        status: Status,
        *,
        n_slides: int,
        masks: str = "",
        told: Callable[[SlideFile, int], None] = lambda _slide, _n_patches: None,
    ) -> None:
        self.status = status
        self._told = told
        self._masks = masks
        self.done: dict[str, int] = {}
        self.kept: list[str] = []
        self.failures: list[Failure] = []
        self._n_slides = n_slides

    def start(self, slide: SlideFile) -> None:
        """Record that a slide has been started."""
        self.status.note(slide.slide_id, "started")

    def finish(self, slide: SlideFile, made: Made) -> None:
        """Record and report that a bag was made."""
        self.done[slide.slide_id] = made.n_patches
        bad = f" ({made.n_bad} more could not be read)" if made.n_bad else ""
        logger.info(
            "%s: %d patches%s, tissue regions: %d, %.1f s (%.0f patches/s), slide %d of %d",
            slide.slide_id, made.n_patches, bad, made.n_regions, made.seconds,
            made.n_patches / made.seconds, self.n_settled, self._n_slides,
        )  # fmt: skip
        self.status.note(slide.slide_id, "done", **asdict(made))
        self._told(slide, made.n_patches)

    def count(self, slide: SlideFile, n_patches: int) -> None:
        """Report a bag that another process made and recorded."""
        self.done[slide.slide_id] = n_patches
        logger.info(
            "%s: %d patches, slide %d of %d",
            slide.slide_id, n_patches, self.n_settled, self._n_slides,
        )  # fmt: skip
        self._told(slide, n_patches)

    def keep(self, slide: SlideFile) -> None:
        """Record that a bag already existed."""
        self.kept.append(slide.slide_id)

    def fail(self, slide: SlideFile, error: GimpError, *, attempt: str = "") -> None:
        """Record and report that a slide failed."""
        kind, where = type(error).__name__, repr(str(slide.path))
        message = as_given(str(error), str(slide.path), self._masks)
        message = message if where in message else f"{where}: {message}"
        self.take(Failure(slide.slide_id, STAGES.get(kind, "read"), kind, message))
        self.status.note(
            slide.slide_id, "failed", attempt=attempt,
            stage=STAGES.get(kind, "read"), error=kind, message=message,
        )  # fmt: skip

    def take(self, failure: Failure) -> None:
        """Report a failure that is already recorded."""
        name = failure.item if failure.item.isprintable() else repr(failure.item)
        logger.error("%s failed: %s", name, failure.message)
        self.failures.append(failure)

    @property
    def n_settled(self) -> int:
        """Number of slides whose outcome is known."""
        return len(self.done) + len(self.kept) + len(self.failures)

    def result(self, output: Path, *, seconds: float) -> ExtractionResult:
        """Summarise the outcomes.

        Parameters
        ----------
        output
            Folder of the bags.
        seconds
            Duration.

        Returns
        -------
        The result of the extraction.
        """
        return ExtractionResult(
            output=output,
            done=_sorted(self.done),
            kept=_sorted(self.kept),
            failures=tuple(sorted(self.failures, key=lambda failure: failure.item)),
            n_patches=sum(self.done.values()),
            seconds=seconds,
        )


def _sorted(slide_ids: Iterable[str]) -> tuple[str, ...]:
    """Slides in the order of their ids."""
    return tuple(sorted(slide_ids))
