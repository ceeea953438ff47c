"""`gimp import-genes`: a cohort from published expression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gimp_plugin.cli import options
from gimp_plugin.cohort.importing.rules import (
    DUPLICATE_CASES,
    DUPLICATE_GENES,
    ERROR,
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
    """Option with a fixed set of words and the default of the rules."""
    default = getattr(DEFAULT, name.removeprefix("--").replace("-", "_"))
    return click.option(
        name, type=options.Choice(words), default=default, show_default=True, help=text
    )


def of_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that a user may type: `error` is what happens without the option."""
    return tuple(word for word in words if word != ERROR)


@click.command("import-genes", short_help="Make genes.h5ad of published expression tables.")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=options.FILE)
@choice("--format", FORMATS, "Layout of the source.")
@click.option(
    "--scale",
    metavar="NAME",
    show_default="fpkm for STAR files, else as the source means it, else guessed",
    help="Scale of the values: counts; fpkm, fpkm-uq, tpm or linear; log, log1p or log2; "
    "standardised. Chooses the column of STAR files.",
)
@click.option(
    "--sample-sheet",
    "sample_sheets",
    multiple=True,
    type=options.FILE,
    show_default="what lies in the folder",
    help="GDC sample sheet (.tsv) or metadata (.json); may be repeated.",
)
@click.option(
    "--case-key",
    metavar="COLUMN",
    show_default="as the source names cases, else TCGA barcodes, else the sample",
    help="Column that names the case, in the source or in --labels.",
)
@click.option("--labels", type=options.FILE, help="Clinical table, CSV or TSV: joins its columns.")
@click.option(
    "--label-key",
    metavar="COLUMN",
    show_default="label, Project ID or oncotree_code, as the source has it",
    help="Column that is the class; copied to obs['label'].",
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
    help="Column of a matrix that is no gene; may be repeated.",
)
@choice("--samples", SAMPLES, "Primary tumour (01), any tumour (01 to 09), or all samples.")
@click.option("--keep-ffpe", is_flag=True, help="Keep samples that were fixed in formalin.")
@click.option(
    "--aliquots",
    type=options.FILE,
    help="CSV with the column sample_id or file: the samples to take.",
)
@choice("--duplicate-cases", DUPLICATE_CASES, "What several samples of one case become.")
@choice("--duplicate-genes", DUPLICATE_GENES, "What several rows of one gene become.")
@choice("--gene-ids", GENE_IDS, "Which ids to keep where Ensembl ids and others are mixed.")
@click.option("--shared-genes", is_flag=True, help="Of several sources, keep the genes of all.")
@click.option(
    "--gene-table",
    type=options.FILE,
    help="What is known of genes: GENCODE GTF, Xena probemap, or CSV with gene_id.",
)
@choice("--impute", IMPUTE, "What becomes of missing values.")
@choice("--orientation", ORIENTATIONS, "Which side of a matrix has the genes.")
@click.option("--layer", metavar="NAME", show_default="X", help="Layer of an .h5ad to take.")
@options.overwrite
@options.as_json
@options.output("genes.h5ad", folder=False)
def command(
    *, sources: tuple[Path, ...], overwrite: bool, as_json: bool, output: Path, **given: Any
) -> None:
    """Make a gene cohort (.h5ad) of SOURCE.

    SOURCE is a folder of GDC files (STAR counts or HTSeq), or files of them; a matrix of UCSC
    Xena, of cBioPortal, or any other, either way up; a table of MCAT or PORPOISE; or an .h5ad. The
    layout is found out. What was left out is listed in <output>.exclusions.csv.
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
