"""A plain picture of a slide and some of its patches, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides import wire
from gimp_plugin.slides.reading import Reading, SlideReaders
from gimp_plugin.slides.sources import Source, open_source
from gimp_plugin.slides.tiff import check_whole
from gimp_plugin.slides.tissue import thumbnail

JOB = "view"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRequest:
    """Request to view a slide.

    Parameters
    ----------
    path
        The slide.
    picture_px
        Largest length of the picture's longer side.
    corners, side
        Top-left corners and side of the patches, level-0 pixels.
    patch_px
        Side of the returned patches.
    """

    path: str
    picture_px: int
    corners: Sequence[Sequence[int]] = ()
    side: int = 0
    patch_px: int = 0


class View(NamedTuple):
    """View of a slide, never with its label or macro picture.

    Parameters
    ----------
    size
        Width and height of level 0.
    picture
        RGB, shape (height, width, 3).
    patches
        RGB, shape (patch, height, width, 3).
    """

    size: tuple[int, int]
    picture: NDArray[np.uint8]
    patches: NDArray[np.uint8]


def look_at(readers: SlideReaders, request: ViewRequest, *, timeout_s: float) -> View:
    """View a slide through another process.

    Parameters
    ----------
    readers
        The processes.
    request
        The request.
    timeout_s
        Longest time it may take.

    Returns
    -------
    The view.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    """
    viewing = _Viewing(readers.start, request, timeout_s=timeout_s)
    try:
        return viewing.result()
    finally:
        viewing.close()


class _Viewing(Reading):
    """A slide that is being viewed in another process."""

    def __init__(
        self, start: Callable[..., Any], request: ViewRequest, *, timeout_s: float
    ) -> None:
        self._wanted = request
        super().__init__(start, request, timeout_s=timeout_s, n_readers=1)  # type: ignore[arg-type]  # only its path is used

    def result(self) -> View:
        """Wait for the picture and the patches."""
        message, picture = self._receive(self._jobs[0])
        _, patches = self._receive(self._jobs[0])
        if picture is None or patches is None:
            raise SlideError(f"{self._path!r} gave no picture")
        width, height = message["size"]
        return View((width, height), picture, patches)

    def _job(self, first: int) -> dict[str, Any]:
        """Job of the process."""
        del first
        return {JOB: asdict(self._wanted)}


def serve_view(job: Mapping[str, Any], connection: Any) -> None:
    """Answer a request, in the process that reads slides.

    Parameters
    ----------
    job
        The request as plain values.
    connection
        Socket for the answer.
    """
    request = ViewRequest(**job)
    path = Path(request.path)
    if path.is_file():
        check_whole(path)
    with open_source(path) as source:
        info = source.info
        longer = max(info.width, info.height)
        picture = thumbnail(source, mpp=1.0, target_mpp=max(1.0, longer / request.picture_px))
        wire.send(connection, {"size": [info.width, info.height]}, picture)
        wire.send(connection, {}, _patches(source, request))


def _patches(source: Source, request: ViewRequest) -> NDArray[np.uint8]:
    """Read patches from the coarsest level that is fine enough."""
    import cv2

    size = request.patch_px
    patches = np.full((len(request.corners), size, size, 3), 255, np.uint8)
    scales = source.info.downsamples
    fine = [level for level, scale in enumerate(scales) if request.side / scale >= size]
    level = max(fine, key=lambda level: scales[level], default=0)
    read = max(1, round(request.side / scales[level]))
    for place, (x, y) in enumerate(request.corners):
        pixels = np.ascontiguousarray(source.read((x, y), (read, read), level=level))
        patches[place] = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    return patches
