"""Options that select the cases: fields of `config.CohortSource`, each defined once."""

from __future__ import annotations

from typing import Any

import click

from gimp_plugin.cli.options import FILE, Choice, Decorator, all_of
from gimp_plugin.config.sources import MIN_GENE_COVERAGE

COHORT_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "--case-key": (
        "case_id",
        {"metavar": "COLUMN", "help": "Column of --labels with the case id."},
    ),
    "--features": ("features", {"type": FILE, "help": "Folder of bags."}),
    "--slide-table": (
        "obs column slide_id, else equal names, else TCGA barcodes",
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
            "help": "Whether to leave out slides of normal tissue, by their TCGA sample code, or "
            "to keep all.",
        },
    ),
    "--slide-kind": (
        "all",
        {
            "type": Choice(["dx", "frozen", "all"]),
            "help": "Kind of slide to use, by its TCGA name.",
        },
    ),
}
"""Default in words, and the other arguments of `click.option`, by option name."""

adata = click.option("--adata", type=FILE, help="Gene cohort, .h5ad.")
CLASSES = "CSV or TSV with the class of each case"
labels_beside = click.option("--labels", type=FILE, help=f"{CLASSES}, in addition to --adata.")
labels = click.option(
    "--labels",
    type=FILE,
    help=f"{CLASSES}: in addition to --adata, or instead of it when there are only slides.",
)
bags_beside = click.option("--features", type=FILE, help="Folder of bags to check as well.")


def cohort_option(name: str, *, from_run: bool = False) -> Decorator:
    """Make one of `COHORT_OPTIONS`; its value is None unless it is given."""
    default, others = COHORT_OPTIONS[name]
    return click.option(
        name, show_default=f"as in the run, else {default}" if from_run else default, **others
    )


def inputs(*, from_run: bool, needs_genes: bool = False) -> Decorator:
    """Make the options for where cases come from: fields of `config.CohortSource`."""
    others = [cohort_option(name, from_run=from_run) for name in COHORT_OPTIONS]
    return all_of(adata, labels_beside if needs_genes else labels, *others)


DRAWN = "60/20/20 by case, stratified, drawn from the seed"


def _split_table(default: str) -> Decorator:
    """Make the option for a table of splits or a column of folds."""
    return click.option(
        "--splits",
        metavar="FILE|obs:COLUMN",
        show_default=default,
        help="CSV case_id,fold,split, or splits of CLAM or SurvPath; or a column of obs, where the "
        "cases whose value is --fold are the test part.",
    )


split_table = _split_table(DRAWN)


def splits(*, from_run: bool) -> Decorator:
    """Make the options for train, val and test cases: fields of `config.CohortSource`."""
    return all_of(
        _split_table(f"as in the run, else {DRAWN}" if from_run else DRAWN),
        click.option("--fold", metavar="NAME", help="Fold to use if there are several."),
    )


def missing(default: str) -> Decorator:
    """Make the option for what to do with cases that lack slides or genes."""
    return click.option(
        "--missing",
        type=Choice(["drop", "keep", "error"]),
        default=default,
        show_default=True,
        help="Cases that lack slides or genes: leave them out, keep them, or stop with an error.",
    )


site_key = click.option(
    "--site-key",
    metavar="COLUMN",
    show_default="tissue_source_site, else site, else the site in TCGA ids",
    help="Column of obs with the hospital of each case.",
)

min_gene_coverage = click.option(
    "--min-gene-coverage",
    type=click.FloatRange(0, 1),
    default=MIN_GENE_COVERAGE,
    show_default=True,
    help="Minimum share of the run's genes that the cohort must have.",
)


def unlabelled(*, from_run: bool) -> Decorator:
    """Make the option for what to do with cases without a class."""
    default = "leave out cases that --labels does not list, refuse a row without a class"
    return click.option(
        "--unlabelled",
        type=Choice(["use", "drop"]),
        show_default=f"as in the run, else {default}" if from_run else default,
        help="Cases without a class: pre-train on those that are training cases, or leave them "
        "out; fine-tuning always leaves them out.",
    )
