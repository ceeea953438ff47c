"""`gimp check`: find leaks and faults in a cohort before a model learns them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gimp_plugin.cli import cohort_options, options

if TYPE_CHECKING:
    from gimp_plugin.cohort.audit import Audit

HEADING, KEY = "# Check of ", "checks"
"""How every audit begins as Markdown, and a key that it has as JSON."""


@click.command("check", short_help="Look for leaks and faults in a cohort; prints what it finds.")
@click.option("--adata", type=options.FILE, required=True, help="Gene cohort, .h5ad.")
@cohort_options.labels_beside
@cohort_options.cohort_option("--case-key")
@cohort_options.bags_beside
@click.option(
    "--splits",
    metavar="FILE|obs:COLUMN",
    help="CSV case_id,fold,split, or a column of folds, to check as well.",
)
@click.option("--fold", metavar="NAME", show_default="all", help="Fold of the splits to check.")
@cohort_options.cohort_option("--slide-table")
@cohort_options.cohort_option("--label-key")
@cohort_options.site_key
@cohort_options.cohort_option("--layer")
@cohort_options.cohort_option("--scale")
@click.option(
    "--model", metavar="RUN", type=options.FILE, help="Run whose genes the cohort should have."
)
@options.as_json
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    callback=lambda _ctx, _param, path: path and options.check_output(path, folder=False),
    help="File to write the result to as well: JSON if its name ends in .json, else Markdown.",
)
@options.overwrite
def command(
    *,
    adata: Path,
    labels: Path | None,
    case_key: str | None,
    features: Path | None,
    splits: str | None,
    fold: str | None,
    slide_table: Path | None,
    label_key: str | None,
    site_key: str | None,
    layer: str | None,
    scale: str | None,
    model: Path | None,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Look for leaks and faults in a cohort, without changing anything.

    Prints one line per check (ok, FINDING or skipped), then what was found, why it matters and what
    to do. The exit code is 0 if nothing was found, 4 if there are findings, and 3 if the cohort or
    the folder of features cannot be read at all.
    """
    from gimp_plugin.cli.evaluate import write
    from gimp_plugin.cli.outcome import PARTLY_DONE
    from gimp_plugin.cohort.audit import audit

    found = audit(
        adata,
        labels=labels,
        case_key=case_key,
        features=features,
        splits=splits,
        fold=fold,
        slide_table=slide_table,
        label_key=label_key,
        site_key=site_key,
        layer=layer,
        scale=scale,
        model=model,
    )
    if output is not None:
        text = as_text(found, as_json=output.suffix == ".json")
        write(output, text, heading=HEADING, key=KEY, overwrite=overwrite)
    click.echo(as_text(found, as_json=as_json), nl=False)
    if found.findings:
        click.get_current_context().exit(PARTLY_DONE)


def as_text(found: Audit, *, as_json: bool) -> str:
    """Format an audit as JSON or Markdown."""
    import json

    if as_json:
        return json.dumps(found.to_dict(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return found.to_markdown()
