"""Genes that were standardised within a class or a cohort.

A group that was standardised separately has mean 0 in every gene; if every group was centred
separately, all have the same mean. Groups do not agree so well naturally: the mean of a group
deviates from that of the cohort by about a standard error, whereas here almost all genes deviate by
a small part of it. If some cases were left out afterwards, the means lie further apart; they are
then compared with those of randomly drawn groups. A cohort standardised as a whole is not reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.agreement import agreement_of
from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.groups import Grouping
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.scales import is_whole

CHECK = "standardised within groups"
ALMOST_ALL = 0.95
BEYOND_CHANCE = "means that agree better than chance allows"
FEWEST_GENES = 5
_MANY_GENES = 50
_WIDE, _NARROW = 0.35, 0.02
_CLIPPED = 0.05
_SD_TOLERANCE = 0.1
_RANGE_TOLERANCE = 1e-4

WHY = (
    "each group was scaled by itself, so that a value depends on the group of its case; results "
    "on this table do not hold for a new patient, whose group is not known when it is scaled"
)
REMEDY = (
    "go back to the table before it was standardised (log2, TPM, counts) and let training fit the "
    "mean and standard deviation on its training cases; if there is none, do not use this table"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments:
    """Statistics of the varying genes by group, shape (group, gene), and their overall mean."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    all_mean: NDArray[np.float64]


def check_standardised(subject: Subject, groupings: list[Grouping]) -> Finding:
    """Look for groups that were standardised, centred or scaled to a range separately.

    Returns
    -------
    One verdict over all divisions of the cases.
    """
    n_genes = int(subject.varying_genes.sum())
    if not groupings:
        return skipped(CHECK, "no column of obs makes two groups of 5 cases")
    if n_genes < FEWEST_GENES:
        return skipped(CHECK, f"only {n_genes} genes vary, fewer than {FEWEST_GENES}")
    whole = is_whole(subject.values)
    seen = [_examined(subject, grouping, whole=whole) for grouping in groupings]
    hits = [each for each in seen if each["groups"]]
    numbers = {each["column"]: each for each in seen}
    if not hits:
        columns = named([grouping.columns[0] for grouping in groupings])
        return ok(CHECK, f"not by {columns} ({n_genes:,} genes)", groupings=numbers)
    found = "; ".join(_told(each, n_genes) for each in hits)
    return finding(CHECK, found, why=WHY, remedy=REMEDY, groupings=numbers)


def moments_of(subject: Subject, grouping: Grouping) -> Moments:
    """Mean, standard deviation and range of each varying gene in each group."""
    order = np.argsort(grouping.member, kind="stable")
    starts = np.concatenate([[0], np.cumsum(grouping.sizes)[:-1]])
    one_hot = (grouping.member[None, :] == np.arange(len(grouping.names))[:, None]).astype(float)
    one_hot /= grouping.sizes[:, None]
    parts: list[tuple[NDArray[np.float64], ...]] = []
    for _, block in subject.blocks(subject.varying_genes):
        values = block.astype(np.float64)
        overall = values.mean(axis=0)
        values -= overall  # so that the squares below lose no precision
        mean = one_hot @ values
        sd = np.sqrt(np.maximum(one_hot @ values**2 - mean**2, 0.0))
        ordered = block[order]
        low = np.minimum.reduceat(ordered, starts, axis=0).astype(np.float64)
        high = np.maximum.reduceat(ordered, starts, axis=0).astype(np.float64)
        parts.append((mean + overall, sd, low, high, overall[None, :]))
    mean, sd, low, high, overall = (
        np.concatenate(each, axis=1) for each in zip(*parts, strict=True)
    )
    return Moments(mean=mean, sd=sd, low=low, high=high, all_mean=overall[0])


def _examined(subject: Subject, grouping: Grouping, *, whole: bool) -> dict[str, Any]:
    """Judge one division."""
    moments = moments_of(subject, grouping)
    n_cases = len(subject.case_ids)
    large = np.flatnonzero(grouping.large).tolist()
    shares = [_shares(moments, group, int(grouping.sizes[group]), n_cases) for group in large]
    own = [group for group, share in zip(large, shares, strict=True) if share["zero"] >= ALMOST_ALL]
    level = all(share["level"] >= ALMOST_ALL for share in shares)
    if whole:  # 0 and 1, or small counts, have one range in every group
        shares = [share | {"span": 0.0} for share in shares]
    spans = [g for g, share in zip(large, shares, strict=True) if share["span"] >= ALMOST_ALL]
    how, groups = _verdict(own, large if level else [], spans, shares, large)
    agreement = None if groups else agreement_of(subject, grouping)
    if agreement is not None and agreement.beyond_chance:
        how, groups = BEYOND_CHANCE, large
    best = max(range(len(large)), key=lambda index: max(shares[index].values()))
    return {
        "column": grouping.title,
        "n_groups": len(large),
        "groups": sorted(grouping.names[group] for group in groups),
        "how": how,
        "share_mean_0": max(share["zero"] for share in shares),
        "share_mean_0_sd_1": max(share["both"] for share in shares),
        "largest_share": max(shares[best].values()),
        "variance_ratio": None if agreement is None else agreement.ratio,
        "p_value": None if agreement is None else agreement.p_value,
    }


def _verdict(
    own: list[Any],
    level: list[Any],
    spans: list[Any],
    shares: list[dict[str, float]],
    large: list[Any],
) -> tuple[str, list[Any]]:
    """Name what was done, and the groups it was done to."""
    if own:
        both = [shares[large.index(group)]["both"] >= ALMOST_ALL for group in own]
        return ("mean 0 and standard deviation 1" if all(both) else "mean 0"), own
    if len(spans) >= 2:
        return "the same lowest and highest value", spans
    if level:
        return "the same mean", level
    return "", []


def _shares(moments: Moments, group: int, size: int, n_cases: int) -> dict[str, float]:
    """Shares of the genes that look as if a group had been treated separately."""
    mean, sd = moments.mean[group], moments.sd[group]
    varies = sd > 0
    if size >= n_cases or varies.sum() < FEWEST_GENES:
        return {"zero": 0.0, "both": 0.0, "level": 0.0, "span": 0.0}
    mean, sd = mean[varies], sd[varies]
    error = np.sqrt(1 / size - 1 / n_cases)  # of a random group's mean, in standard deviations
    part = _WIDE if len(sd) >= _MANY_GENES else _NARROW
    tolerance = min(_CLIPPED, part * float(error))
    zero = np.abs(mean) <= tolerance * sd
    factor = np.sqrt(size / (size - 1))
    one = np.minimum(np.abs(sd - 1), np.abs(sd * factor - 1)) <= _SD_TOLERANCE
    level = np.abs(mean - moments.all_mean[varies]) <= tolerance * sd
    return {
        "zero": float(zero.mean()),
        "both": float((zero & one).mean()),
        "level": float(level.mean()),
        "span": _share_of_one_range(moments.low[group][varies], moments.high[group][varies]),
    }


def _share_of_one_range(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Share of the genes with the same lowest and the same highest value."""
    width = float(np.median(high - low))
    near = np.abs(low - np.median(low)) + np.abs(high - np.median(high))
    return float((near <= _RANGE_TOLERANCE * width).mean())


def _told(seen: dict[str, Any], n_genes: int) -> str:
    """Describe one division in words."""
    if seen["how"] == BEYOND_CHANCE:
        apart = f"the means of {named(seen['groups'])} of {seen['column']} differ by"
        chance = f"{seen['variance_ratio']:.0%} of the variance that chance gives"
        return f"{apart} {chance} (permutation p={seen['p_value']:.3g})"
    share = {"mean 0": seen["share_mean_0"]}.get(seen["how"], seen["largest_share"])
    if "deviation" in seen["how"]:
        share = seen["share_mean_0_sd_1"]
    within = f"within {named(seen['groups'])} of {seen['column']}"
    return f"{within}, {share:.1%} of {n_genes:,} genes have {seen['how']}"
