"""The gallery of a folder of bags: a picture of each slide, and a page with all of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import ConfigError, ResourceError, SlideError
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.jobs import Job
from gimp_plugin.slides.plan import request_for
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.resolutions import given_mpp
from gimp_plugin.storage.atomic import whole_file, write_text
from gimp_plugin.storage.bags import scan_bags
from gimp_plugin.storage.tables import FAILURES, read_csv

logger = logging.getLogger(__name__)

FOLDER = "thumbnails"
SHEET = "index.html"
QUALITY = 88
THUMBNAIL_PX = 1024
"""Longer side of a picture."""


def check_gallery(folder: Path) -> None:
    """Check that pictures can be written, before any work.

    Parameters
    ----------
    folder
        Folder of bags.

    Raises
    ------
    ConfigError
        If the path of the pictures is a file.
    ResourceError
        If the folder is not writable.
    """
    place = folder / FOLDER
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        problem = f"{str(place)!r} is a file, expected a folder of pictures"
        raise ConfigError(problem, hint="move it, or leave out --thumbnails")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ResourceError(f"cannot write in {str(place)!r}", hint="check its permissions")


def draw_lacking(kept: Sequence[SlideFile], job: Job) -> dict[SlideFile, SlideError]:
    """Draw the missing pictures of slides with existing bags.

    Parameters
    ----------
    kept
        Slides with existing bags; pictures of the others were drawn with their bags.
    job
        The extraction.

    Returns
    -------
    Slides that cannot be drawn, and why.
    """
    lacking = [slide for slide in kept if not thumbnail_path(job.output, slide.slide_id).exists()]
    failed = {}
    if lacking:
        with SlideReaders() as readers:
            for slide in lacking:
                try:
                    _draw(slide, job, readers)
                except SlideError as error:
                    failed[slide] = error
    return failed


def _draw(slide: SlideFile, job: Job, readers: SlideReaders) -> None:
    """Write the picture of a slide that is not read for another purpose."""
    mpp = given_mpp(slide, job.config, job.options.slide_mpps)
    request = request_for(slide, job.config, slide_mpp=mpp, batch_size=0)
    request = replace(request, thumbnail_px=THUMBNAIL_PX)
    with closing(readers.read(request, timeout_s=job.options.slide_timeout_s)) as reading:
        picture = reading.plan().thumbnail
    if picture is not None:
        write_thumbnail(job.output, slide.slide_id, picture)


def thumbnail_path(folder: Path, slide_id: str) -> Path:
    """Return the path of a slide's picture in a folder of bags."""
    return folder / FOLDER / f"{slide_id}.jpg"


def write_thumbnail(folder: Path, slide_id: str, picture: NDArray[np.uint8]) -> None:
    """Write the picture of a slide; equal pictures give equal bytes.

    Parameters
    ----------
    folder
        Folder of bags.
    slide_id
        The slide.
    picture
        RGB, shape (height, width, 3).
    """
    import cv2

    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    with whole_file(thumbnail_path(folder, slide_id)) as temporary:
        temporary.write_bytes(data.tobytes())


def write_sheet(folder: Path) -> Path:
    """Write the page of all slides of a folder, failed ones first.

    The page is one HTML file with the pictures beside it, so that a cohort of a thousand slides can
    be reviewed by scrolling while the browser loads only what it shows.

    Parameters
    ----------
    folder
        Folder of bags.

    Returns
    -------
    The page.
    """
    from jinja2 import Environment, PackageLoader

    bags, _ = scan_bags(folder)
    failures = read_csv(folder / FAILURES) if (folder / FAILURES).exists() else []
    slides = [
        {
            "slide_id": bag.slide_id,
            "n_patches": bag.n_patches,
            "n_bad": int(bag.attributes.get(keys.N_BAD_PATCHES, 0)),
            "has_picture": thumbnail_path(folder, bag.slide_id).exists(),
        }
        for bag in bags
    ]
    pages = Environment(
        loader=PackageLoader("gimp_plugin.slides"), autoescape=True, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    text = pages.get_template("thumbnails.html").render(slides=slides, failures=failures)
    path = folder / FOLDER / SHEET
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path
