"""Checks of the folder of features: its files, how they were made, and duplicate bags."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gimp_plugin import keys
from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.pairing import Pairing, pair
from gimp_plugin.errors import GimpError, PairingError, counted
from gimp_plugin.storage.bags import BagInfo, read_features, scan_bags

PAIRED, READABLE, ENCODERS = "slides and cases", "readable features", "one encoder"
EXTRACTION, THIN, TWICE = "one extraction", "patches a slide", "duplicate slides"
FEW_PATCHES = 10
_HEAD = 4


@dataclass(frozen=True, kw_only=True)
class Features:
    """Bags of a folder, paired with the cases.

    Parameters
    ----------
    bags
        Usable bags by slide id.
    errors
        What is wrong with the others, by slide id.
    pairing
        Which case each bag belongs to, or None if that cannot be determined.
    problem
        Why it cannot be determined.
    """

    bags: Mapping[str, BagInfo] = field(default_factory=dict)
    errors: Mapping[str, GimpError] = field(default_factory=dict)
    pairing: Pairing | None = None
    problem: GimpError | None = None

    @property
    def case_of(self) -> dict[str, str]:
        """Case of each slide that has one."""
        slides = self.pairing.slides if self.pairing else {}
        return {slide: case for case, names in slides.items() for slide in names}


def read_bags(subject: Subject, folder: Path, slide_table: Path | None) -> Features:
    """Read the header of every bag, and find its case.

    Returns
    -------
    The bags.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    BagError
        If it is a file, or a single bag.
    """
    found, errors = scan_bags(folder)
    bags = {bag.slide_id: bag for bag in found}
    try:
        pairing = pair(
            subject.case_ids, sorted(bags), slide_table=slide_table, obs_slides=obs_slides(subject)
        )
    except GimpError as error:
        return Features(bags=bags, errors=errors, problem=error)
    if bags and not pairing.slides:
        problem = PairingError(
            f"no slide belongs to a case: slides {named(sorted(bags), limit=3)}",
            hint="give --slide-table with the columns slide_id,case_id",
        )
        return Features(bags=bags, errors=errors, pairing=pairing, problem=problem)
    return Features(bags=bags, errors=errors, pairing=pairing)


def check_features(subject: Subject, features: Features) -> list[Finding]:
    """Check the files of a folder of features.

    Returns
    -------
    One verdict for each check.
    """
    paired = _paired(subject, features)
    readable = _readable(features)
    if not features.bags:
        checks = (ENCODERS, EXTRACTION, THIN, TWICE)
        return [readable, paired, *(skipped(check, "no bag can be read") for check in checks)]
    bags = list(features.bags.values())
    return [
        readable,
        paired,
        _one_encoder(bags),
        _one_extraction(bags),
        _thin(bags),
        _duplicates(features),
    ]


def duplicate_bags(features: Features) -> list[list[str]]:
    """Find slides with identical features.

    Our own files are compared by the hash in their header. Other files of equal shape are compared
    by their first rows, and by all their features if those agree.

    Returns
    -------
    Groups of at least two slides.
    """
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    shapes: dict[tuple[int, int], list[BagInfo]] = defaultdict(list)
    for slide_id, bag in features.bags.items():
        stored = bag.attributes.get(keys.FEATURES_SHA256)
        if stored and bag.attributes.get(keys.FORMAT) == keys.BAG_FORMAT:
            alike["stored", str(stored)].append(slide_id)
        else:
            shapes[bag.n_patches, bag.dim].append(bag)
    for same_shape in shapes.values():
        for same_head in _split(same_shape, lambda bag: _digest(bag, _HEAD)):
            for same in _split(same_head, lambda bag: _digest(bag, None)):
                alike["read", same[0].slide_id] = [bag.slide_id for bag in same]
    return [sorted(names) for names in alike.values() if len(names) > 1]


def _split(bags: Sequence[BagInfo], key: Callable[[BagInfo], bytes]) -> list[list[BagInfo]]:
    """Groups of at least two bags with the same key."""
    if len(bags) < 2:
        return []
    groups: dict[bytes, list[BagInfo]] = defaultdict(list)
    for bag in bags:
        groups[key(bag)].append(bag)
    return [group for group in groups.values() if len(group) > 1]


def _digest(bag: BagInfo, rows: int | None) -> bytes:
    """Hash of the first rows of a bag; an unreadable bag equals no other."""
    try:
        values = np.ascontiguousarray(read_features(bag, 0, rows), dtype=np.float32)
    except GimpError:
        return bag.slide_id.encode()
    return blake2b(values.tobytes(), digest_size=16).digest()


def obs_slides(subject: Subject) -> dict[str, object]:
    """Column `slide_id` of the cohort, if it has one."""
    if keys.SLIDE_ID not in subject.obs.columns:
        return {}
    cells = subject.obs[keys.SLIDE_ID].tolist()
    return dict(zip(subject.case_ids, cells, strict=True))


def _readable(features: Features) -> Finding:
    """Look for files that cannot be used."""
    total = len(features.bags) + len(features.errors)
    if not total:
        return finding(
            READABLE,
            "the folder has no feature file",
            why="there is nothing to train on",
            remedy="run gimp extract-features, or give another --features",
        )
    if not features.errors:
        return ok(READABLE, f"all {counted(total, 'file')}")
    first = next(iter(features.errors.values()))
    return finding(
        READABLE,
        f"{len(features.errors):,} of {counted(total, 'file')} cannot be used: "
        f"{named(sorted(features.errors))}; the first: {first.problem}",
        why="their slides are missing from training and prediction",
        remedy=first.hint or "extract these slides again",
        slides=sorted(features.errors)[:100],
    )


def _paired(subject: Subject, features: Features) -> Finding:
    """Look for slides without a case, and cases without a slide."""
    why = "cases without slides and slides without a case are left out, perhaps more of one class"
    remedy = "give or correct --slide-table, a CSV with the columns slide_id,case_id"
    if features.problem is not None:
        hint = features.problem.hint or remedy
        return finding(PAIRED, features.problem.problem, why=why, remedy=hint)
    pairing = features.pairing or Pairing(slides={})
    bare = [case_id for case_id in subject.case_ids if case_id not in pairing.slides]
    lone = sorted(slide for slides in pairing.unknown.values() for slide in slides)
    left_out = [each.slide_id for each in pairing.exclusions if each.slide_id in features.bags]
    parts = []
    if bare:
        n_cases = counted(len(subject.case_ids), "case")
        parts.append(f"{len(bare):,} of {n_cases} have no slide: {named(bare)}")
    if lone:
        n_slides = counted(len(lone), "slide")
        parts.append(f"{n_slides} of cases that the cohort does not have: {named(lone)}")
    if left_out:
        reason = next(e.reason for e in pairing.exclusions if e.slide_id == left_out[0])
        parts.append(f"{counted(len(left_out), 'slide')} left out ({reason}): {named(left_out)}")
    n_paired = sum(map(len, pairing.slides.values()))
    numbers = {"n_paired": n_paired, "cases_without_slides": bare[:100], "lone_slides": lone[:100]}
    if parts:
        return finding(PAIRED, "; ".join(parts), why=why, remedy=remedy, **numbers)
    n_cases = counted(len(pairing.slides), "case")
    return ok(PAIRED, f"{counted(n_paired, 'slide')} of {n_cases}, none left over", **numbers)


def _one_encoder(bags: Sequence[BagInfo]) -> Finding:
    """Look for features of more than one encoder or size."""
    kinds = Counter((bag.encoder or "unknown encoder", bag.dim) for bag in bags)
    found = ", ".join(f"{name} of {dim} ({n:,})" for (name, dim), n in sorted(kinds.items())[:5])
    numbers = {"kinds": [[name, dim, n] for (name, dim), n in sorted(kinds.items())]}
    if len(kinds) == 1:
        return ok(ENCODERS, found, **numbers)
    return finding(
        ENCODERS,
        f"{len(kinds)} kinds of features: {found}",
        why="features of two encoders have nothing in common; training refuses them",
        remedy="extract all slides with one encoder, into one folder",
        **numbers,
    )


def _one_extraction(bags: Sequence[BagInfo]) -> Finding:
    """Look for features that were extracted in several ways."""
    settings: dict[str, list[str]] = defaultdict(list)
    for bag in bags:
        settings[str(bag.attributes.get(keys.EXTRACTION_SHA256) or "")].append(bag.slide_id)
    if set(settings) == {""}:
        return skipped(EXTRACTION, "no file says how it was made")
    if len(settings) == 1:
        return ok(
            EXTRACTION, f"{counted(len(bags), 'slide')}, settings {next(iter(settings))[:12]}"
        )
    shown = [
        f"{name[:12] or 'not said'} ({len(slides):,}, {slides[0]})"
        for name, slides in sorted(settings.items(), key=lambda item: -len(item[1]))
    ]
    return finding(
        EXTRACTION,
        f"{len(settings)} ways of extraction: {named(shown)}",
        why="features of patches with another size, resolution or tissue rule are not comparable",
        remedy="extract all slides with the same settings",
        settings={name: slides[:100] for name, slides in settings.items()},
    )


def _thin(bags: Sequence[BagInfo]) -> Finding:
    """Look for bags of very few patches."""
    sizes = np.array([bag.n_patches for bag in bags])
    thin = [bag.slide_id for bag in bags if bag.n_patches < FEW_PATCHES]
    span = f"{sizes.min():,} to {sizes.max():,}, median {int(np.median(sizes)):,}"
    if not thin:
        return ok(THIN, span)
    return finding(
        THIN,
        f"{counted(len(thin), 'slide')} with fewer than {FEW_PATCHES} patches: {named(thin)} "
        f"({span})",
        why="so little tissue tells little about the tumour; often the tissue mask failed",
        remedy="look at these slides and their masks, and leave them out if they are empty",
        slides=thin[:100],
    )


def _duplicates(features: Features) -> Finding:
    """Look for duplicate slides."""
    groups = duplicate_bags(features)
    if not groups:
        return ok(TWICE, "no two slides have the same features")
    case_of = features.case_of
    across = [group for group in groups if len({case_of.get(name, name) for name in group}) > 1]
    shown = [" = ".join(group[:3]) for group in (across or groups)]
    of_cases = f", {counted(len(across), 'time')} under two cases" if across else ""
    return finding(
        TWICE,
        f"{counted(len(groups), 'slide')} under several names{of_cases}: {named(shown)}",
        why="a slide under two cases may be both in training and in test",
        remedy="find out which case the slide belongs to, and remove the other file",
        groups=[group[:10] for group in groups[:100]],
        n_across_cases=len(across),
    )
