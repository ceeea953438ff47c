"""The files of each slide: scores, tables, annotations and pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gimp_plugin.config import ExplainConfig
from gimp_plugin.errors import MissingFileError, SlideError, counted, listed
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.viewing import View
from gimp_plugin.storage.tables import Failure
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.names import file_name, without_paths
from gimp_plugin.studies.explanation.pictures import FOLDER as PICTURES
from gimp_plugin.studies.explanation.pictures import overlay, sheet, view_of, write_png
from gimp_plugin.studies.explanation.slides import FOLDER as PATCHES
from gimp_plugin.studies.explanation.slides import (
    SCORES,
    SlideScores,
    Writer,
    slides_of,
    sorted_scores,
    write_patch_table,
    write_scores,
)
from gimp_plugin.studies.explanation.tables import Results

logger = logging.getLogger(__name__)

H5, CSV, PNG = ".h5", ".csv", ".png"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideFiles:
    """Which files are written for each slide, and where.

    Parameters
    ----------
    folder
        Folder of the explanation.
    config
        Settings that decide which files are written.
    writers
        Suffix and writer of each format of other programs.
    slides
        Slides by slide_id.
    with_slides
        Whether slides were given at all.
    """

    folder: Path
    config: ExplainConfig
    writers: Mapping[str, tuple[str, Writer]]
    slides: Mapping[str, Path]
    with_slides: bool

    @property
    def needs_readers(self) -> bool:
        """Whether slides are read."""
        return bool(self.slides) and "pictures" not in self.config.skip

    def names(self, slide_id: str) -> Iterator[str]:
        """Files that a slide may have, relative to the folder."""
        name = file_name(slide_id)
        yield f"{PATCHES}/{name}{H5}"
        if "csv" in self.config.formats:
            yield f"{PATCHES}/{name}{CSV}"
        for suffix, _ in self.writers.values():
            yield f"{PATCHES}/{name}{suffix}"
        if "pictures" not in self.config.skip:
            for kind in (*SCORES, "patches"):
                yield f"{PICTURES}/{name}_{kind}{PNG}"


def slide_files(
    files: SlideFiles, results: Results, inputs: Inputs, readers: SlideReaders | None
) -> list[Failure]:
    """Write the files of all slides.

    Parameters
    ----------
    files
        Which files, and where.
    results, inputs
        The cases.
    readers
        Processes that read slides; None without slides.

    Returns
    -------
    Slides that could not be read; their maps are drawn on white.
    """
    cohort = sorted_scores([result for _, result in results])
    failures: list[Failure] = []
    bare: list[str] = []
    for case, result in results:
        for slide in slides_of(case, result, cohort=cohort, classes=inputs.classes):
            _write(files, slide)
            if slide.place.corners is None:
                bare.append(slide.bag.slide_id)
            elif "pictures" not in files.config.skip:
                view, failure = _view(files, slide, readers)
                failures += [] if failure is None else [failure]
                _draw(files, slide, view)
    if bare:
        told = counted(len(bare), "bag")
        text = "%s without a map, because the positions of the patches are unknown: %s"
        logger.warning(text, told, listed(bare))
    return failures


def _write(files: SlideFiles, slide: SlideScores) -> None:
    """Write the scores of a slide."""
    stem = files.folder / PATCHES / slide.name
    write_scores(_with(stem, H5), slide)
    if "csv" in files.config.formats:
        write_patch_table(_with(stem, CSV), slide)
    if slide.place.corners is not None and slide.kinds:
        for suffix, write in files.writers.values():
            write(_with(stem, suffix), slide.as_attention())


def _view(
    files: SlideFiles, slide: SlideScores, readers: SlideReaders | None
) -> tuple[View | None, Failure | None]:
    """Read a slide, if slides are given; give the failure if it cannot be read."""
    if not files.with_slides:
        return None, None
    slide_id = slide.bag.slide_id
    path = files.slides.get(slide_id)
    if path is None or readers is None:
        logger.warning("slide %r is not among --slides: its map is drawn on white", slide_id)
        told = f"no slide {slide_id!r} (check --slides)"
        return None, Failure(slide_id, "pictures", MissingFileError.__name__, told)
    try:
        view = view_of(readers, path, slide, top=files.config.top)
        _check_size(slide, path, view)
    except SlideError as error:
        logger.warning("the map of slide %r is drawn on white: %s", slide_id, error)
        told = without_paths(str(error), [path])
        return None, Failure(slide_id, "pictures", type(error).__name__, told)
    return view, None


def _check_size(slide: SlideScores, path: Path, view: View) -> None:
    """Refuse a slide whose size differs from the one that the bag was made from."""
    wanted = slide.bag.slide_size
    if wanted not in {None, view.size}:
        problem = f"{str(path)!r} has {view.size} pixels, but its bag was made from {wanted}"
        raise SlideError(problem, hint="give the slides that the bags were made from")


def _draw(files: SlideFiles, slide: SlideScores, view: View | None) -> None:
    """Draw the pictures of a slide."""
    stem = files.folder / PICTURES / slide.name
    for kind in slide.kinds:
        write_png(_with(stem, f"_{kind}{PNG}"), overlay(slide, kind, view))
    if view is not None:
        write_png(_with(stem, f"_patches{PNG}"), sheet(slide, view, top=files.config.top))


def _with(stem: Path, suffix: str) -> Path:
    """Append a suffix to a path, even if the name contains a dot."""
    return stem.with_name(f"{stem.name}{suffix}")
