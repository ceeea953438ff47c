"""Run all checks of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gimp_plugin import keys
from gimp_plugin.cohort.audit import cases, expression, genes
from gimp_plugin.cohort.audit.bags import (
    Features,
    check_features,
    duplicate_bags,
    obs_slides,
    read_bags,
)
from gimp_plugin.cohort.audit.findings import Finding
from gimp_plugin.cohort.audit.floors import check_floors
from gimp_plugin.cohort.audit.groups import groupings_of
from gimp_plugin.cohort.audit.report import Audit
from gimp_plugin.cohort.audit.sites import check_sites
from gimp_plugin.cohort.audit.slides import check_slides
from gimp_plugin.cohort.audit.splits import Twins, check_all_splits
from gimp_plugin.cohort.audit.standardised import check_standardised
from gimp_plugin.cohort.audit.subject import Subject, read_subject
from gimp_plugin.cohort.scales import SCALES
from gimp_plugin.cohort.slide_table import read_slide_table, slides_of_obs
from gimp_plugin.errors import ConfigError, did_you_mean


def audit(  # noqa: PLR0913  # as many as the command has options
    adata: Path,
    *,
    labels: Path | None = None,
    case_key: str | None = None,
    features: Path | None = None,
    splits: str | None = None,
    fold: str | None = None,
    slide_table: Path | None = None,
    label_key: str | None = None,
    site_key: str | None = None,
    layer: str | None = None,
    scale: str | None = None,
    model: Path | None = None,
) -> Audit:
    """Check a cohort for faults that would make results on it wrong, changing nothing.

    Parameters
    ----------
    adata
        The cohort, .h5ad.
    labels, case_key
        A separate table of cases, and its column with the case ids.
    features
        Folder of bags to check as well.
    splits
        Table of splits, or `obs:COLUMN`.
    fold
        Fold of the splits; None checks all.
    slide_table
        A CSV `slide_id,case_id`.
    label_key
        Column of `obs` with the classes; None uses `label` if it exists.
    site_key
        Column of `obs` with the hospital.
    layer
        Layer to use instead of X.
    scale
        Scale of the values, if the file does not declare it.
    model
        Run whose genes the cohort should have.

    Returns
    -------
    The outcome of every check.

    Raises
    ------
    GimpError
        If the cohort or the folder of features cannot be read at all, or a column does not exist.
    ConfigError
        If `scale` is not the name of a scale, or there is a fold without splits.
    """
    if fold is not None and splits is None:
        problem = f"--fold {fold!r} was given without --splits, which it chooses from"
        raise ConfigError(problem, hint="give --splits, or leave --fold out")
    if scale is not None and scale not in SCALES:
        problem = f"--scale {scale!r} is unknown{did_you_mean(scale, SCALES)}"
        raise ConfigError(problem, hint=f"choose from {', '.join(SCALES)}")
    subject = read_subject(
        adata,
        layer=layer,
        scale=scale,
        label_key=label_key or keys.LABEL,
        labels=labels,
        case_key=case_key or keys.CASE_ID,
    )
    found = None if features is None else read_bags(subject, features, slide_table)
    groupings = groupings_of(subject)
    checks: list[Finding] = [
        *_of_expression(subject, model),
        cases.check_patients(subject),
        cases.check_profiles(subject),
        cases.check_labels(subject, asked=label_key is not None),
        cases.check_balance(subject),
        check_standardised(subject, groupings),
        check_floors(subject, groupings),
        expression.check_level(subject),
        check_sites(subject, site_key),
        *check_all_splits(
            subject,
            splits,
            fold=fold,
            twins=_twins(subject, found, splits),
            case_of=partial(_case_of, subject, found, slide_table),
        ),
    ]
    if found is not None:
        checks += [*check_features(subject, found), *check_slides(subject, found)]
    return Audit(
        name=subject.name,
        n_cases=len(subject.case_ids),
        n_genes=len(subject.gene_ids),
        checks=tuple(checks),
    )


def _of_expression(subject: Subject, model: Path | None) -> list[Finding]:
    """Run the checks of values and genes."""
    found = [
        expression.check_finite(subject),
        expression.check_scale(subject),
        expression.check_one_scale(subject),
        expression.check_silent(subject),
        expression.check_library(subject),
        genes.check_gene_ids(subject),
        genes.check_gene_names(subject),
        genes.check_repeated_genes(subject),
        genes.check_constant_genes(subject),
    ]
    return found if model is None else [*found, genes.check_coverage(subject, model)]


def _twins(subject: Subject, features: Features | None, splits: str | None) -> Sequence[Twins]:
    """Rows of the cohort that are the same sample, judged by their genes or their slides."""
    if splits is None:
        return ()
    found = [Twins(rows=cases.duplicate_profiles(subject), by="expression")]
    if features is not None:
        row_of = {case_id: row for row, case_id in enumerate(subject.case_ids)}
        case_of = features.case_of
        groups = [
            sorted({row_of[case_of[name]] for name in names if name in case_of})
            for names in duplicate_bags(features)
        ]
        found.append(Twins(rows=[rows for rows in groups if len(rows) > 1], by="slides"))
    return found


def _case_of(
    subject: Subject, features: Features | None, slide_table: Path | None
) -> dict[str, str]:
    """Case of each slide that is not itself the name of a case."""
    if features is not None:
        named = features.case_of
    elif slide_table is not None:
        named = read_slide_table(slide_table)
    else:
        named = slides_of_obs(obs_slides(subject))
    known = set(subject.case_ids)
    return {slide: case for slide, case in named.items() if slide not in known}
