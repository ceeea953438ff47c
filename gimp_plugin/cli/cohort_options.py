"""Options that say which cases there are: fields of `config.CohortSource`, one definition each."""

from __future__ import annotations

from typing import Any

import click

from gimp_plugin.cli.options import FILE, Choice, Decorator, all_of

COHORT_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "--case-key": (
        "case_id",
        {"metavar": "COLUMN", "help": "Column of --labels with the id."},
    ),
    "--features": ("features", {"type": FILE, "help": "Folder of bags."}),
    "--slide-table": (
        "obs column slide_id, equal names, TCGA barcodes",
        {"type": FILE, "help": "CSV slide_id,case_id."},
    ),
    "--label-key": (
        "label",
        {"metavar": "COLUMN", "help": "Column of --labels or obs with the class."},
    ),
    "--layer": ("X", {"metavar": "NAME", "help": "Layer with the expression values."}),
    "--scale": (
        "as the cohort declares",
        {
            "metavar": "NAME",
            "help": "Scale of the values: counts; fpkm, fpkm-uq, tpm or linear; log, log1p or "
            "log2; standardised.",
        },
    ),
    "--slide-samples": (
        "tumour",
        {
            "type": Choice(["tumour", "all"]),
            "help": "Leave slides of normal tissue out, by the TCGA sample code, or keep all.",
        },
    ),
    "--slide-kind": (
        "all",
        {
            "type": Choice(["dx", "frozen", "all"]),
            "help": "Kind of slide to take, by the TCGA name.",
        },
    ),
}
"""What says where the cases are: the default in words, and the rest of each option."""

adata = click.option("--adata", type=FILE, help="Gene cohort, .h5ad.")
labels = click.option(
    "--labels",
    type=FILE,
    help="CSV or TSV with the class of each case, beside the cohort, or instead of it for slides "
    "only.",
)


def cohort_option(name: str, *, from_run: bool = False) -> Decorator:
    """One of `COHORT_OPTIONS`; None unless it is given."""
    default, others = COHORT_OPTIONS[name]
    return click.option(
        name, show_default=f"as in the run, else {default}" if from_run else default, **others
    )


def inputs(*, from_run: bool) -> Decorator:
    """Where the cases come from: fields of `config.CohortSource`."""
    others = [cohort_option(name, from_run=from_run) for name in COHORT_OPTIONS]
    return all_of(adata, labels, *others)


DRAWN = "60/20/20 by case, stratified, drawn from the seed"


def _split_table(default: str) -> Decorator:
    """Table of splits, or a column of folds."""
    return click.option(
        "--splits",
        metavar="FILE|obs:COLUMN",
        show_default=default,
        help="CSV case_id,fold,split or splits of CLAM or SurvPath; or a column whose value "
        "--fold is the test part.",
    )


split_table = _split_table(DRAWN)


def splits(*, from_run: bool) -> Decorator:
    """Which cases train, validate and test: fields of `config.CohortSource`."""
    return all_of(
        _split_table(f"as in the run, else {DRAWN}" if from_run else DRAWN),
        click.option("--fold", metavar="NAME", help="Fold to take where there are several."),
    )


def missing(default: str) -> Decorator:
    """What becomes of cases without slides and slides without cases."""
    return click.option(
        "--missing",
        type=Choice(["drop", "keep", "error"]),
        default=default,
        show_default=True,
        help="Cases that lack slides or genes: leave out, keep, or stop.",
    )


unlabelled = click.option(
    "--unlabelled",
    type=Choice(["use", "drop"]),
    show_default="leave out cases that --labels does not name, refuse a row without a class",
    help="Cases without a class: pre-train on those that are training cases, or leave them out; "
    "fine-tuning leaves them out either way.",
)
