"""Section on slides: maps, with measures of whether they are faithful."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gimp_plugin.errors import CheckpointError
from gimp_plugin.storage.hdf5 import opened
from gimp_plugin.studies.explanation import tables
from gimp_plugin.studies.explanation.names import file_name
from gimp_plugin.studies.explanation.pictures import FOLDER as PICTURES
from gimp_plugin.studies.explanation.slides import FOLDER as PATCHES
from gimp_plugin.studies.explanation.slides import SCORES
from gimp_plugin.studies.report.blocks import Beside, Fold, lacking, said
from gimp_plugin.studies.report.explained import (
    EXPLAIN,
    NO_EXPLANATION,
    OF_GENES,
    Block,
    Row,
    measured,
    measures_of,
    number_in,
    rows_of,
)
from gimp_plugin.studies.report.gathering import Reported
from gimp_plugin.studies.report.names import short
from gimp_plugin.studies.report.pictures import embedded

MAP_PX, SHEET_PX = 360, 900
WRONG, RIGHT = "wrong", "right"
KINDS = ("insertion_", "deletion_", "auc_", "stability_", "spearman_")
COLOURS = (
    "Maps of attention: dark is least, light yellow most, by rank in the slide. Attribution and "
    "occlusion: blue speaks against the class, red for it, white for neither."
)
MEASURES = (
    "insertion, deletion: how much more evidence the highest patches give, or their absence takes, "
    "than random ones: a score that is not above 0 does not explain what the model says. auc: "
    "against known tissue. stability: against runs of other seeds."
)
NOT_MEASURED = (
    "It was not measured whether these maps are true: run gimp explain without --skip faithfulness."
)


def slides_of(one: Reported, *, n_pictures: int) -> tuple[Block, ...]:
    """Show maps of slides, with measures of whether they are faithful to the model.

    Parameters
    ----------
    one
        The run.
    n_pictures
        Maximum number of cases whose maps are shown: wrong predictions first, then the strongest
        evidence.

    Returns
    -------
    The blocks.
    """
    folder = one.explanation
    if folder is None:
        return lacking(NO_EXPLANATION, EXPLAIN)
    cases = rows_of(folder, tables.CASES, "case_id", "label", "predicted", "explained", "log_odds")
    slides = _slides_of_cases(folder)
    metrics = {row["case_id"]: row for row in rows_of(folder, tables.FAITHFULNESS, "case_id")}
    ordered = sorted(cases, key=lambda row: _rank(row, folder))
    pictured = [row for row in ordered if _has_pictures(folder, slides.get(row["case_id"], ()))]
    if not slides:
        return lacking("no slide was explained", "gimp explain --slides DIR draws maps")
    blocks: list[Block] = list(_summary(folder))
    shown = pictured[:n_pictures]
    rest = f"{len(shown)} of {len(pictured)} cases with maps (--pictures shows more)"
    order = "wrong predictions first, then the strongest evidence"
    told = [f"Shown: {rest}, {order}.", COLOURS] if pictured else ["No map was drawn."]
    blocks.append(said(*told))
    folds = (
        _case(folder, row, slides[row["case_id"]], metrics.get(row["case_id"], {})) for row in shown
    )
    return (*blocks, *folds)


def _summary(folder: Path) -> list[Block]:
    """Means of the measures of patches."""
    caption = "Whether the maps are true: means with 95 % intervals"
    found = measures_of(
        folder, caption, lambda name: name.startswith(KINDS) and name not in OF_GENES
    )
    return [said(NOT_MEASURED)] if found is None else [found, said(MEASURES)]


def _slides_of_cases(folder: Path) -> dict[str, list[str]]:
    """Slides of each case, from the files of patches."""
    found: dict[str, list[str]] = {}
    for path in sorted((folder / PATCHES).glob("*.h5")):
        try:
            with opened(path) as file:
                case_id, slide_id = file.attrs["case_id"], file.attrs["slide_id"]
        except (KeyError, OSError) as error:
            raise CheckpointError(f"{str(path)!r} is damaged: it names no case") from error
        found.setdefault(str(case_id), []).append(str(slide_id))
    return found


def _rank(row: Row, folder: Path) -> tuple[bool, float, str]:
    """Sort key of a case: wrong predictions first, then the strongest evidence."""
    odds = number_in(row, "log_odds", folder / tables.CASES)
    return _outcome(row) != WRONG, -abs(odds), row["case_id"]


def _outcome(row: Row) -> str:
    """Whether the prediction of a case is right, wrong, or not known to be either."""
    if not row["label"]:
        return "its class is not known"
    return RIGHT if row["label"] == row["predicted"] else WRONG


def _has_pictures(folder: Path, slides: Iterable[str]) -> bool:
    """Whether any map of these slides was drawn."""
    return any(_map(folder, slide, kind).is_file() for slide in slides for kind in SCORES)


def _map(folder: Path, slide_id: str, kind: str) -> Path:
    """Path of the picture of a slide."""
    return folder / PICTURES / f"{file_name(slide_id)}_{kind}.png"


def _case(folder: Path, row: Row, slides: Sequence[str], metrics: Mapping[str, str]) -> Fold:
    """Maps of one case, with their measures."""
    blocks: list[Block] = []
    for slide_id in slides:
        maps = [
            embedded(
                _map(folder, slide_id, kind),
                side=MAP_PX,
                alt=f"Map of {kind} over the slide",
                caption=_caption(kind, metrics, folder),
            )
            for kind in SCORES
        ]
        sheet = embedded(
            _map(folder, slide_id, "patches"),
            side=SHEET_PX,
            alt="Patches with the highest and the lowest score, each with its score",
            caption="Patches with the highest and the lowest score",
        )
        drawn = [one for one in (*maps, sheet) if one is not None]
        blocks += [said(f"Slide {short(slide_id)}"), Beside(tuple(drawn))]
    odds = number_in(row, "log_odds", folder / tables.CASES)
    case_id, label, called, target = (
        short(row[column]) for column in ("case_id", "label", "predicted", "explained")
    )
    known = f"{label}, " if label else ""
    told = f"{case_id}: {known}called {called} ({_outcome(row)})"
    return Fold(f"{told}, evidence for {target} {odds:+.2f} nats", tuple(blocks))


def _caption(kind: str, metrics: Mapping[str, str], folder: Path) -> str:
    """Name of a map, and the measures of this case."""
    path = folder / tables.FAITHFULNESS
    told = [
        f"{measure} {measured(measure, number_in(metrics, f'{measure}_{kind}', path), digits=2)}"
        for measure in ("insertion", "deletion", "auc", "stability")
        if metrics.get(f"{measure}_{kind}")
    ]
    return f"{kind}: {', '.join(told)}" if told else kind
