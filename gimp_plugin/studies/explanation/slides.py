"""Scores of patches with their places: `patches/<slide_id>.h5`, and the same as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.data.cases import Case
from gimp_plugin.explain.attention import SlideAttention
from gimp_plugin.storage.bags import BagInfo
from gimp_plugin.storage.hdf5 import composed
from gimp_plugin.storage.tables import write_csv
from gimp_plugin.studies.explanation.compute import (
    ATTENTION,
    ATTRIBUTION,
    OCCLUSION,
    Place,
    place_of_bag,
)
from gimp_plugin.studies.explanation.names import file_name
from gimp_plugin.studies.explanation.results import CaseResult

FORMAT, VERSION = "gimp.explanation.slide", 1
FOLDER = "patches"
SCORES = (ATTENTION, ATTRIBUTION, OCCLUSION)
SLIDE, COHORT = "_slide", "_cohort"
CONTENT = "content_sha256"

Writer = Callable[[Path, SlideAttention], None]
"""Writes the patches of a slide for another program."""

Columns = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideScores:
    """Scores of the patches of one slide.

    Parameters
    ----------
    bag, case
        The slide and its case.
    place
        Where the patches lie.
    columns
        One value per patch, by name: scores, and their ranks in the slide and in the cohort.
    target
        Class that the scores explain.
    probabilities
        Probabilities of the case, by class.
    """

    bag: BagInfo
    case: Case
    place: Place
    columns: Columns
    target: str
    probabilities: Mapping[str, float]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the available scores, without ranks."""
        return tuple(name for name in SCORES if name in self.columns)

    @property
    def name(self) -> str:
        """Start of the names of the slide's files."""
        return file_name(self.bag.slide_id)

    def as_attention(self) -> SlideAttention:
        """Convert the slide for writers of other formats; its places must be known."""
        if self.place.corners is None:
            raise RuntimeError("a slide without places has no map")
        first, *rest = self.kinds
        return SlideAttention(
            slide_id=self.bag.slide_id,
            case_id=self.case.case_id,
            attention=self.columns[first],
            corners=self.place.corners,
            side=self.place.side,
            probabilities=self.probabilities,
            kind=first,
            others={name: self.columns[name] for name in rest},
        )


def ranks(values: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rank of each value among sorted values, in (0, 1]; ties share the mean rank.

    Parameters
    ----------
    values
        Any values.
    among
        Sorted values without NaN.

    Returns
    -------
    Ranks; NaN for NaN.

    Examples
    --------
    >>> ranks(np.float32([2, 1, 2]), np.float32([1, 2, 2, 3])).tolist()
    [0.625, 0.25, 0.625]
    """
    below = np.searchsorted(among, values, side="left")
    upto = np.searchsorted(among, values, side="right")
    found = (below + upto + 1) / (2 * max(1, len(among)))
    return np.where(np.isnan(values), np.nan, found).astype(np.float32)


def sorted_scores(results: Sequence[CaseResult]) -> Columns:
    """Sort all values of each score, for ranks in the cohort."""
    found = {}
    for name in SCORES:
        values = [result.columns[name] for result in results if name in result.columns]
        if values:
            every = np.concatenate(values)
            found[name] = np.sort(every[~np.isnan(every)])
    return found


def slides_of(
    case: Case, result: CaseResult, *, cohort: Columns, classes: Sequence[str]
) -> Iterator[SlideScores]:
    """Split the scores of a case by slide, and rank them.

    Parameters
    ----------
    case
        The case.
    result
        Result of the case.
    cohort
        Result of `sorted_scores`.
    classes
        Class names.

    Yields
    ------
    Each slide.
    """
    odds = result.evidence[np.isfinite(result.evidence).all(axis=1)][0]
    probabilities = 1 / (1 + np.exp(-odds))
    stop = 0
    for bag in case.bags:
        start, stop = stop, stop + bag.n_patches
        columns: Columns = {}
        for name in SCORES:
            if name in result.columns:
                own = result.columns[name][start:stop]
                columns[name] = own
                columns[f"{name}{SLIDE}"] = ranks(own, np.sort(own[~np.isnan(own)]))
                columns[f"{name}{COHORT}"] = ranks(own, cohort[name])
        yield SlideScores(
            bag=bag,
            case=case,
            place=place_of_bag(bag),
            columns=columns,
            target=classes[result.target],
            probabilities=dict(zip(classes, probabilities.tolist(), strict=True)),
        )


def write_scores(path: Path, slide: SlideScores) -> None:
    """Write the scores of a slide and the places of its patches; equal scores give equal bytes.

    Parameters
    ----------
    path
        The file.
    slide
        The slide.
    """
    with composed(path) as file:
        file.attrs[keys.FORMAT], file.attrs[keys.FORMAT_VERSION] = FORMAT, VERSION
        file.attrs[keys.SLIDE_ID], file.attrs[keys.CASE_ID] = slide.bag.slide_id, slide.case.case_id
        file.attrs["target"] = slide.target
        if slide.place.corners is not None:
            file.attrs["patch_size_level0"] = slide.place.side
            file.create_dataset(keys.COORDS, data=slide.place.corners, fletcher32=True, chunks=True)
        for name, values in slide.columns.items():
            file.create_dataset(name, data=values, fletcher32=True, chunks=True)


def write_patch_table(path: Path, slide: SlideScores) -> None:
    """Write the scores of a slide as a table: `x` and `y` if known, and the columns."""
    columns: dict[str, list[float]] = {}
    if slide.place.corners is not None:
        x, y = slide.place.corners.T.tolist()
        columns = {"x": x, "y": y}
    columns |= {name: values.tolist() for name, values in slide.columns.items()}
    rows = (
        {name: None if value != value else value for name, value in zip(columns, row, strict=True)}  # noqa: PLR0124  # NaN
        for row in zip(*columns.values(), strict=True)
    )
    write_csv(path, rows, columns=list(columns))
