"""Checks of the cases: duplicates, and classes that are missing or small."""

from __future__ import annotations

from collections import Counter, defaultdict
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import counted, did_you_mean

PATIENTS, PROFILES = "duplicate cases", "duplicate expression"
LABELS, BALANCE = "labels", "class balance"
NEAR = 0.9999
FEW, SMALL = 5, 20
LEAST_SHARE = 0.1
_SCREENED_GENES = 4096
_FEWEST_GENES = 20
_SCREEN = 0.999
_MOST_PAIRS = 2000
_BLOCK = 1024


def check_patients(subject: Subject) -> Finding:
    """Look for patients under several names, and for names that are empty or repeated."""
    rows: dict[str, list[str]] = defaultdict(list)
    for case_id in subject.case_ids:
        rows[same_case(case_id)].append(case_id)
    empty = len(rows.pop("", []))
    groups = [names for names in rows.values() if len(names) > 1]
    if not groups and not empty:
        return ok(PATIENTS, f"{counted(len(rows), 'patient')}, one row each")
    parts = [f"{counted(empty, 'case')} without a name"] if empty else []
    if groups:
        shown = [" = ".join(names[:3]) for names in groups]
        parts.append(f"{counted(len(groups), 'patient')} in several rows: {named(shown)}")
    return finding(
        PATIENTS,
        "; ".join(parts),
        why="a patient in two rows counts twice, and may be both in training and in test",
        remedy="keep one row per patient (gimp import-genes --case-key)",
        patients=[names[:10] for names in groups[:100]],
        n_empty=empty,
    )


def check_profiles(subject: Subject) -> Finding:
    """Look for cases of different names with the same, or nearly the same, expression."""
    groups = duplicate_profiles(subject)
    numbers = {"groups": [[subject.case_ids[row] for row in rows[:10]] for rows in groups[:100]]}
    if not groups:
        return ok(PROFILES, "no two cases have the same values", **numbers)
    shown = [" = ".join(subject.case_ids[row] for row in rows[:3]) for rows in groups]
    return finding(
        PROFILES,
        f"{counted(sum(map(len, groups)), 'case')} share their values with another: {named(shown)}",
        why="a sample under two names may be both in training and in test",
        remedy="find out which name is right, and leave the other case out",
        **numbers,
    )


def duplicate_profiles(subject: Subject) -> list[list[int]]:
    """Find rows whose values are equal or, standardised by gene, correlate above .9999.

    Returns
    -------
    Groups of at least two rows; cases with a single value in all genes are left out.
    """
    alike: dict[bytes, list[int]] = defaultdict(list)
    for row, values in enumerate(subject.values):
        finite = values[np.isfinite(values)]
        if finite.size and finite.min() < finite.max():
            alike[blake2b((values + np.float32(0)).tobytes(), digest_size=16).digest()].append(row)
    leader = np.arange(len(subject.case_ids))
    for rows in alike.values():
        leader[rows] = rows[0]
    distinct = np.array([rows[0] for rows in alike.values()], dtype=np.int64)
    for first, second in _near_pairs(subject, distinct):
        leader[leader == leader[second]] = leader[first]
    groups: dict[int, list[int]] = defaultdict(list)
    for row, first in enumerate(leader.tolist()):
        groups[first].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def check_labels(subject: Subject, *, asked: bool) -> Finding:
    """Look for cases without a class, and for a column with only one class."""
    labels = subject.labels
    why = "a case without a class cannot be used for training or evaluation"
    if labels is None:
        columns = [str(name) for name in subject.obs.columns]
        near = did_you_mean(subject.label_key, columns)
        found = f"obs has no column {subject.label_key!r}{near}"
        if not asked:
            return skipped(LABELS, f"{found}; give --label-key or --labels")
        return finding(LABELS, found, why=why, remedy=f"--label-key is one of {named(columns)}")
    bare = [name for name, label in zip(subject.case_ids, labels, strict=True) if label is None]
    classes = sorted({label for label in labels if label is not None})
    if bare:
        found = f"{len(bare):,} of {counted(len(labels), 'case')} without a class: {named(bare)}"
        remedy = "label these cases, or leave them out"
        return finding(LABELS, found, why=why, remedy=remedy, n_missing=len(bare))
    if len(classes) < 2:
        found, remedy = f"one class only: {named(classes)}", "give another --label-key"
        return finding(LABELS, found, why="there is nothing to tell apart", remedy=remedy)
    return ok(LABELS, f"{counted(len(classes), 'class', 'classes')}: {named(classes)}")


def check_balance(subject: Subject) -> Finding:
    """Look for classes with few cases, or a small share of them."""
    if subject.labels is None:
        return skipped(BALANCE, f"obs has no column {subject.label_key!r}")
    counts = Counter(label for label in subject.labels if label is not None)
    if not counts:
        return skipped(BALANCE, "no case has a class")
    total = sum(counts.values())
    listed = ", ".join(f"{label} {counts[label]:,}" for label in sorted(counts))
    smallest = min(counts, key=lambda label: (counts[label], label))
    n_least, share = counts[smallest], counts[smallest] / total
    numbers = {"counts": dict(sorted(counts.items())), "smallest_share": share}
    many = len(counts) > _FEWEST_GENES and n_least < FEW
    if many:
        listed = counted(len(counts), "class", "classes")
    found = f"{listed}; the smallest class is {share:.1%}"
    if n_least >= SMALL and share >= LEAST_SHARE:
        return ok(BALANCE, found, **numbers)
    limit = FEW if n_least < FEW else SMALL
    reason = f"fewer than {limit} cases" if n_least < SMALL else "less than a tenth of the cases"
    least = limit if n_least < SMALL else LEAST_SHARE * total
    small = [
        f"{label} ({counts[label]:,})" if many else label
        for label in sorted(counts)
        if counts[label] < least
    ]
    which = f"class {small[0]} has" if len(small) == 1 else f"classes {named(small)} have"
    return finding(
        BALANCE,
        f"{which} {reason}: {found}",
        why="a class needs cases in train, val and test; results for a few cases mean little",
        remedy="add cases, merge classes, or report balanced accuracy with its interval",
        **numbers,
    )


def _near_pairs(subject: Subject, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of rows whose values, standardised by gene, correlate above .9999."""
    genes = np.flatnonzero(subject.varying_genes)
    if len(genes) < _FEWEST_GENES or len(rows) < _FEWEST_GENES:
        return []
    some = genes[np.linspace(0, len(genes) - 1, min(len(genes), _SCREENED_GENES)).astype(int)]
    screened = _unit_profiles(subject, rows, some)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(rows), _BLOCK):
        similar = screened[start : start + _BLOCK] @ screened.T
        for first, second in np.argwhere(similar > _SCREEN):
            if start + first < second:
                pairs.append((start + int(first), int(second)))
    if len(some) == len(genes) or len(pairs) > _MOST_PAIRS:
        full = screened
    else:
        wanted = sorted({place for pair in pairs for place in pair})
        full = np.zeros((len(rows), len(genes) if wanted else 0), dtype=np.float32)
        if wanted:
            full[wanted] = _unit_profiles(subject, rows, genes)[wanted]
    near = [(a, b) for a, b in pairs if float(full[a] @ full[b]) > NEAR]
    return [(int(rows[a]), int(rows[b])) for a, b in near]


def _unit_profiles(
    subject: Subject, rows: NDArray[np.int64], genes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Values of some genes, standardised by gene, then scaled to length 1 by case."""
    values = subject.values[np.ix_(rows, genes)].astype(np.float32)
    largest = np.abs(values).max(initial=0.0)
    if largest > 50:  # on a linear scale, a few genes would dominate
        values = np.log1p(np.maximum(values, 0))
    values -= values.mean(axis=0)
    values /= np.maximum(values.std(axis=0), 1e-6)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return values
