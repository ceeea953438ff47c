"""Pair slides with cases, and report whatever is left out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gimp_plugin.cohort.ids import is_normal_tissue, tcga_slide_kind
from gimp_plugin.cohort.slide_names import spelled_as_slides
from gimp_plugin.cohort.slide_table import (
    cases_by_name,
    known_case,
    one_case_each,
    read_slide_table,
    rows_by_patient,
    slides_of_obs,
)
from gimp_plugin.config.checks import require_choice
from gimp_plugin.errors import PairingError, counted, listed
from gimp_plugin.keys import SLIDE_ID
from gimp_plugin.storage.tables import Exclusion

logger = logging.getLogger(__name__)

STEP = "pairing"
NO_GENES = "its case is not in the cohort"
NO_SLIDE = "no slide"
NO_FEATURES = "no features"


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Slides of each case.

    Parameters
    ----------
    slides
        Slides by case, sorted, for each case of the cohort that has any, in the cohort's order.
    unknown
        Slides of cases that the cohort does not have, sorted.
    exclusions
        What was left out, and why.
    warnings
        Warnings for the user.
    """

    slides: Mapping[str, tuple[str, ...]]
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclusions: tuple[Exclusion, ...] = ()
    warnings: tuple[str, ...] = ()


def pair(
    case_ids: Sequence[str],
    slide_ids: Sequence[str],
    *,
    slide_table: Path | None = None,
    obs_slides: Mapping[str, object] | None = None,
    slide_samples: str = "tumour",
    slide_kind: str = "all",
) -> Pairing:
    """Find the slides of each case.

    Slides are paired by the slide table if there is one, else by the cohort's own column, else by
    equal names, else by the first 12 characters of the TCGA barcode. A table or column may spell
    slides with their suffix, or TCGA slides without their uuid (`cohort.slide_names`).

    Parameters
    ----------
    case_ids
        Cases of the cohort.
    slide_ids
        Slides that have features.
    slide_table
        A CSV `slide_id,case_id`.
    obs_slides
        Column `slide_id` of the cohort's `obs`: a slide, or several joined by `;`.
    slide_samples
        `tumour` leaves out TCGA slides of normal tissue and controls (sample codes 10 to 29),
        `all` keeps them.
    slide_kind
        `dx` or `frozen` keeps slides whose TCGA name says so, `all` keeps everything.

    Returns
    -------
    The pairing. Slides and cases without a partner are not refused here but in `apply_missing`.

    Raises
    ------
    PairingError
        If the table is wrong, a slide has two cases, or a name could mean several cases.
    MissingFileError
        If there is no such table.
    ConfigError
        If `slide_samples` or `slide_kind` is unknown.
    """
    require_choice("slide_samples", slide_samples, ("tumour", "all"))
    require_choice("slide_kind", slide_kind, ("dx", "frozen", "all"))
    named, source, spelling = _named_cases(case_ids, slide_ids, slide_table, obs_slides)
    known, by_patient = set(case_ids), rows_by_patient(case_ids)
    case_of = {slide: known_case(case, known, by_patient) for slide, case in named.items()}
    present = [slide_id for slide_id in sorted(slide_ids) if slide_id in case_of]
    reasons = {slide_id: _left_out(slide_id, slide_samples, slide_kind) for slide_id in present}
    kept = [slide_id for slide_id in present if not reasons[slide_id]]
    exclusions = [
        *(Exclusion(case_of[name], name, STEP, why) for name, why in reasons.items() if why),
        *_unnamed(case_of, slide_ids, source),
        *_without_features(case_of, slide_ids, known),
    ]
    groups = _by_case(kept, case_of)
    return Pairing(
        slides={case_id: groups[case_id] for case_id in case_ids if case_id in groups},
        unknown={case_id: groups[case_id] for case_id in sorted(set(groups) - known)},
        exclusions=tuple(exclusions),
        warnings=(*spelling, *_warnings(kept, exclusions)),
    )


def apply_missing(pairing: Pairing, case_ids: Sequence[str], *, missing: str) -> Pairing:
    """Drop, keep or refuse cases without slides and slides of unknown cases.

    Parameters
    ----------
    pairing
        Result of `pair`.
    case_ids
        Cases of the cohort.
    missing
        `drop` leaves them out, `keep` keeps them (a case without slides has an empty tuple),
        `error` refuses them.

    Returns
    -------
    A pairing whose `slides` has all cases to use, those of the cohort first, in its order, and
    whose `unknown` is empty.

    Raises
    ------
    PairingError
        If nothing could be paired, or `missing` is `error` and something has no partner.
    ConfigError
        If `missing` is unknown.
    """
    require_choice("missing", missing, ("drop", "keep", "error"))
    bare = [case_id for case_id in case_ids if case_id not in pairing.slides]
    if not pairing.slides:
        raise _nothing_paired(pairing, bare)
    if missing == "error" and (bare or pairing.unknown):
        raise _refused(pairing, bare, n_cases=len(case_ids))
    if missing == "keep":
        cohort = {case_id: pairing.slides.get(case_id, ()) for case_id in case_ids}
        return replace(pairing, slides={**cohort, **pairing.unknown}, unknown={})
    lone = [(case, slide) for case, slides in pairing.unknown.items() for slide in slides]
    dropped = (
        *(Exclusion(case_id, "", STEP, NO_SLIDE) for case_id in bare),
        *(Exclusion(case_id, slide_id, STEP, NO_GENES) for case_id, slide_id in lone),
    )
    warnings = pairing.warnings
    if bare:
        text = f"{len(bare)} of {counted(len(case_ids), 'case')} left out (no slide)"
        warnings = (*warnings, f"{text}: {listed(bare)}")
    if lone:
        text = f"{counted(len(lone), 'slide')} left out (case not in the cohort)"
        warnings = (*warnings, f"{text}: {listed(slide_id for _, slide_id in lone)}")
    exclusions = (*pairing.exclusions, *dropped)
    return replace(pairing, unknown={}, exclusions=exclusions, warnings=warnings)


def _left_out(slide_id: str, slide_samples: str, slide_kind: str) -> str:
    """Reason why a slide is not wanted; empty if it is."""
    if slide_samples == "tumour" and is_normal_tissue(slide_id):
        return "normal tissue by its TCGA sample code (--slide-samples all keeps it)"
    kind = tcga_slide_kind(slide_id)
    if slide_kind not in {"all", kind}:
        return f"its name says {kind or 'no kind'}, but --slide-kind {slide_kind} was given"
    return ""


def _named_cases(
    case_ids: Sequence[str],
    slide_ids: Sequence[str],
    slide_table: Path | None,
    obs_slides: Mapping[str, object] | None,
) -> tuple[dict[str, str], str, list[str]]:
    """Case of each slide by the first available source, the source's name, and warnings."""
    if slide_table is not None:
        named, source = read_slide_table(slide_table), repr(str(slide_table))
    else:
        named, source = slides_of_obs(obs_slides or {}), f"obs[{SLIDE_ID!r}]"
    if not named:
        named = cases_by_name(slide_ids, set(case_ids))
        barcodes = [name for name, case_id in named.items() if case_id != name]
        if barcodes:
            told = counted(
                len(barcodes),
                "slide was assigned to its case",
                "slides were assigned to their cases",
            )
            logger.info("%s by the first 12 characters of the TCGA barcode", told)
        return named, "the names", []
    slides, warnings = spelled_as_slides(named, slide_ids, where=source)
    pairs = ((slides[name], case_id) for name, case_id in named.items())
    return one_case_each(pairs, where=source), source, warnings


def _unnamed(case_of: Mapping[str, str], slide_ids: Sequence[str], source: str) -> list[Exclusion]:
    """Slides that the table does not name."""
    names = sorted(set(slide_ids) - set(case_of))
    return [Exclusion("", name, STEP, f"not named in {source}") for name in names]


def _without_features(
    case_of: Mapping[str, str], slide_ids: Sequence[str], known: set[str]
) -> list[Exclusion]:
    """Slides that the table assigns to cases of the cohort but that have no features."""
    names = sorted(set(case_of) - set(slide_ids))
    cases = [(case_of[name], name) for name in names if case_of[name] in known]
    return [Exclusion(case_id, name, STEP, NO_FEATURES) for case_id, name in cases]


def _by_case(slide_ids: Sequence[str], case_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Slides of each case, in the given order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for slide_id in slide_ids:
        groups[case_of[slide_id]].append(slide_id)
    return {case_id: tuple(slides) for case_id, slides in groups.items()}


def _warnings(kept: Sequence[str], exclusions: Sequence[Exclusion]) -> list[str]:
    """Warn of slides of two kinds, and of slides that were left out, by reason."""
    kinds = [kind for kind in map(tcga_slide_kind, kept) if kind]
    warnings = []
    if len(set(kinds)) > 1:
        counts = f"{kinds.count('dx')} diagnostic (DX) and {kinds.count('frozen')} frozen slides"
        warnings.append(f"slides of two kinds are mixed: {counts} (choose with --slide-kind)")
    for reason in dict.fromkeys(exclusion.reason for exclusion in exclusions):
        names = [each.slide_id for each in exclusions if each.reason == reason]
        warnings.append(f"{counted(len(names), 'slide')} left out, {reason}: {listed(names)}")
    return warnings


def _nothing_paired(pairing: Pairing, bare: Sequence[str]) -> PairingError:
    """Error for a cohort and slides that have nothing in common."""
    lone = [slide_id for slides in pairing.unknown.values() for slide_id in slides]
    n_excluded = len(pairing.exclusions)
    excluded = f", {counted(n_excluded, 'slide')} left out" if n_excluded else ""
    problem = (
        f"no slide belongs to a case of the cohort: cases {listed(bare, limit=3) or 'none'}, "
        f"slides {listed(lone, limit=3) or 'none'}{excluded}"
    )
    return PairingError(problem, hint="give --slide-table with the columns slide_id,case_id")


def _refused(pairing: Pairing, bare: Sequence[str], *, n_cases: int) -> PairingError:
    """Error for cases and slides without a partner under `--missing error`."""
    parts = []
    if bare:
        parts.append(f"{len(bare)} of {n_cases} cases have no slide: {listed(bare)}")
    lone = [slide_id for slides in pairing.unknown.values() for slide_id in slides]
    if lone:
        told = counted(len(lone), "slide does not belong", "slides do not belong")
        parts.append(f"{told} to any case of the cohort: {listed(lone)}")
    return PairingError("; ".join(parts), hint="give --slide-table, or use --missing drop")
