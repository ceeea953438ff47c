"""`gimp import-genes`: make a cohort from published expression tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gimp_plugin.cli import options
from gimp_plugin.cohort.importing.rules import (
    DUPLICATE_CASES,
    DUPLICATE_GENES,
    FORMATS,
    GENE_IDS,
    IMPUTE,
    ORIENTATIONS,
    SAMPLES,
    ImportRules,
)

if TYPE_CHECKING:
    from gimp_plugin.cohort.importing.run import ImportResult

DEFAULT = ImportRules()


def choice(name: str, words: tuple[str, ...], text: str) -> options.Decorator:
    """Make an option with a fixed set of words and the default of the rules."""
    default = getattr(DEFAULT, name.removeprefix("--").replace("-", "_"))
    return click.option(
        name, type=options.Choice(words), default=default, show_default=True, help=text
    )


@click.command("import-genes", short_help="Make genes.h5ad from published expression tables.")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=options.FILE)
@choice("--format", FORMATS, "Layout of the source.")
@click.option(
    "--scale",
    metavar="NAME",
    show_default="fpkm for STAR files, else the scale of the source, else guessed",
    help="Scale of the values: counts; fpkm, fpkm-uq, tpm or linear; log, log1p or log2; "
    "standardised. For STAR files, chooses the column.",
)
@click.option(
    "--sample-sheet",
    "sample_sheets",
    multiple=True,
    type=options.FILE,
    show_default="those in the source folder",
    help="GDC sample sheet (.tsv) or metadata (.json); may be repeated.",
)
@click.option(
    "--case-key",
    metavar="COLUMN",
    show_default="the source's own, else TCGA barcodes, else the sample",
    help="Column that names the case, in the source or in --labels.",
)
@click.option(
    "--labels", type=options.FILE, help="Clinical table, CSV or TSV, whose columns are added."
)
@click.option(
    "--label-key",
    metavar="COLUMN",
    show_default="label, Project ID or oncotree_code, whichever the source has",
    help="Column with the class; copied to obs['label'].",
)
@click.option(
    "--obs-filter",
    "obs_filters",
    metavar="CONDITION",
    multiple=True,
    help="Keep cases where column=value or column!=value; may be repeated.",
)
@click.option(
    "--obs-column",
    "obs_columns",
    metavar="COLUMN",
    multiple=True,
    help="Column of a matrix that is not a gene; may be repeated.",
)
@choice("--samples", SAMPLES, "Samples to keep: primary tumour (01), any tumour (01 to 09), all.")
@click.option("--keep-ffpe", is_flag=True, help="Keep samples that were fixed in formalin (FFPE).")
@click.option(
    "--aliquots",
    type=options.FILE,
    help="CSV of the samples to use, with a column sample_id or file.",
)
@choice("--duplicate-cases", DUPLICATE_CASES, "What to do with several samples of one case.")
@choice("--duplicate-genes", DUPLICATE_GENES, "What to do with several rows of one gene.")
@choice("--gene-ids", GENE_IDS, "Which ids to keep if Ensembl ids and others are mixed.")
@click.option(
    "--shared-genes", is_flag=True, help="Keep only the genes that all of several sources have."
)
@click.option(
    "--gene-table",
    type=options.FILE,
    help="Description of the genes: GENCODE GTF, Xena probemap, or CSV with gene_id.",
)
@choice("--impute", IMPUTE, "What to do with missing values.")
@choice("--orientation", ORIENTATIONS, "Whether the rows or the columns of a matrix are genes.")
@click.option("--layer", metavar="NAME", show_default="X", help="Layer of an .h5ad to use.")
@options.overwrite
@options.as_json
@options.output("genes.h5ad", folder=False)
def command(
    *, sources: tuple[Path, ...], overwrite: bool, as_json: bool, output: Path, **given: Any
) -> None:
    """Make a gene cohort (.h5ad) from SOURCE.

    SOURCE is a folder of GDC files (STAR counts or HTSeq), or such files; a matrix of UCSC Xena,
    cBioPortal or any other origin, with genes as rows or columns; a table of MCAT or PORPOISE; or
    an .h5ad. The layout is detected. What was left out is listed in <output>.exclusions.csv.
    """
    from gimp_plugin.cohort.importing.run import import_genes

    if output.suffix != ".h5ad":
        raise click.UsageError(f"--output {str(output)!r}: the name of a cohort ends in .h5ad")
    rules = ImportRules(**given)
    _show(import_genes(sources, rules, output=output, overwrite=overwrite), as_json=as_json)


def _show(result: ImportResult, *, as_json: bool) -> None:
    """Print what each rule did."""
    from gimp_plugin.cohort.importing.report import Count, as_table

    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, sort_keys=True))
        return
    record = result.record
    if result.outcome == "done":
        click.echo(as_table([Count(**count) for count in record["counts"]]))
    made = f"{record['n_cases']} cases, {record['n_genes']} genes, scale {record['scale']}"
    guessed = " (guessed)" if record["scale_guessed"] else ""
    what = "nothing to do, " if result.outcome != "done" else ""
    click.echo(f"{result.output}: {what}{made}{guessed}")
