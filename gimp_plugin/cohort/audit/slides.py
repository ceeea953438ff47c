"""Check whether something about the slides other than their tissue reveals the class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gimp_plugin.cohort.audit.association import (
    FEWEST_CASES,
    Association,
    of_category,
    of_number,
    table_of,
)
from gimp_plugin.cohort.audit.bags import Features
from gimp_plugin.cohort.audit.findings import Finding, finding, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.ids import tcga_slide_kind
from gimp_plugin.storage.bags import BagInfo

WHY = (
    "a model can tell the classes by {what} without looking at the tumour, and will fail where "
    "the two are not associated"
)
REMEDY = (
    "balance the classes, or train and report on slides of one kind; read other results as an "
    "upper bound"
)


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property of slides.

    Parameters
    ----------
    check
        Name of the check.
    read
        Returns the value of a slide, None if it is unknown.
    numeric
        Whether it is a number, to be averaged over the slides of a case.
    missing
        What to report if no slide has it.
    """

    check: str
    read: Callable[[BagInfo], Any]
    numeric: bool
    missing: str


def _attribute(name: str) -> Callable[[BagInfo], Any]:
    return lambda bag: bag.attributes.get(name)


def _resampled(bag: BagInfo) -> Any:
    value = bag.attributes.get("resampled")
    return None if value is None else ("resampled" if value else "native")


PROPERTIES = (
    Property(
        check="slide kind = label",
        read=lambda bag: tcga_slide_kind(bag.slide_id),
        numeric=False,
        missing="no slide name says DX or frozen",
    ),
    Property(
        check="scanner vendor = label",
        read=_attribute("vendor"),
        numeric=False,
        missing="no file says the vendor",
    ),
    Property(
        check="native mpp = label",
        read=_attribute("slide_mpp_x"),
        numeric=True,
        missing="no file says the native mpp",
    ),
    Property(
        check="resampled = label",
        read=_resampled,
        numeric=False,
        missing="no file says whether it was resampled",
    ),
)


def check_slides(subject: Subject, features: Features) -> list[Finding]:
    """Compare the slides of the classes, case by case.

    Returns
    -------
    One verdict for each property, for the number of slides and of patches, and for having slides.
    """
    checks = [each.check for each in PROPERTIES]
    checks += ["patches a case = label", "slides a case = label", "cases without slides = label"]
    if subject.labels is None:
        return [skipped(check, f"obs has no column {subject.label_key!r}") for check in checks]
    if not features.case_of:
        return [skipped(check, "no slide belongs to a case") for check in checks]
    labels = dict(zip(subject.case_ids, subject.labels, strict=True))
    slides = features.pairing.slides if features.pairing else {}
    bags = {case: [features.bags[name] for name in names] for case, names in slides.items()}
    found = [_property(each, bags, labels) for each in PROPERTIES]
    patches = {case: float(sum(bag.n_patches for bag in each)) for case, each in bags.items()}
    counts = {case: float(len(each)) for case, each in bags.items()}
    has = {case: "slides" if case in bags else "no slides" for case in labels}
    return [
        *found,
        _number(checks[4], patches, labels),
        _number(checks[5], counts, labels),
        _category(checks[6], has, labels),
    ]


def _property(
    asked: Property, bags: Mapping[str, Sequence[BagInfo]], labels: Mapping[str, Any]
) -> Finding:
    """Compare the classes by one property of their slides."""
    known = {
        case: [value for value in map(asked.read, each) if value is not None]
        for case, each in bags.items()
    }
    values = {case: each for case, each in known.items() if each}
    if not values:
        return skipped(asked.check, asked.missing)
    if asked.numeric:
        means = {case: float(np.mean([float(v) for v in each])) for case, each in values.items()}
        return _number(asked.check, means, labels)
    names = {case: "+".join(sorted(set(map(str, each)))) for case, each in values.items()}
    return _category(asked.check, names, labels)


def _category(check: str, values: Mapping[str, str], labels: Mapping[str, Any]) -> Finding:
    """Compare the classes by a category."""
    if len(set(values.values())) < 2:
        return ok(check, f"all of {len(values):,} cases: {next(iter(values.values()))}")
    of = [labels.get(case) for case in values]
    seen = of_category(list(values.values()), of)
    table = table_of(list(values.values()), of)
    cells = [
        f"{name}: " + ", ".join(f"{label} {n:,}" for label, n in row.items())
        for name, row in table.items()
    ]
    more = f"; and {len(cells) - 5} more" if cells[5:] else ""
    return _judged(check, seen, f"{seen}; {'; '.join(cells[:5])}{more}", table=table)


def _number(check: str, values: Mapping[str, float], labels: Mapping[str, Any]) -> Finding:
    """Compare the classes by a number."""
    if len(set(values.values())) < 2:
        return ok(check, f"all of {len(values):,} cases: {next(iter(values.values())):g}")
    of = [labels.get(case) for case in values]
    seen = of_number(list(values.values()), of)
    medians = {
        str(label): float(
            np.median([v for v, own in zip(values.values(), of, strict=True) if own == label])
        )
        for label in sorted({label for label in of if label})
    }
    told = ", ".join(f"{label} {value:g}" for label, value in list(medians.items())[:5])
    return _judged(check, seen, f"{seen}; medians {told}", medians=medians)


def _judged(check: str, seen: Association, found: str, **numbers: Any) -> Finding:
    """Verdict on an association."""
    numbers |= {"measure": seen.measure, "value": seen.value, "p_value": seen.p_value, "n": seen.n}
    if seen.n < FEWEST_CASES:
        return skipped(check, f"only {seen.n} cases, fewer than {FEWEST_CASES}")
    if seen.strong:
        why = WHY.format(what=f"the {check.removesuffix(' = label')}")
        return finding(check, found, why=why, remedy=REMEDY, **numbers)
    return ok(check, found, **numbers)
