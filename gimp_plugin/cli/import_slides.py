"""`gimp import-slides`: make a slide table from a GDC manifest."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gimp_plugin.cli import options
from gimp_plugin.cli.outcome import PARTLY_DONE


@click.command("import-slides", short_help="Make a slide table from a GDC manifest.")
@click.argument("manifest", type=options.FILE)
@click.option(
    "--sample-sheet",
    type=options.FILE,
    help="GDC sample sheet of the slides: names the case if the file name does not.",
)
@options.overwrite
@options.as_json
@options.output("slides.csv", folder=False)
def command(
    *,
    manifest: Path,
    sample_sheet: Path | None,
    overwrite: bool,
    as_json: bool,
    output: Path,
) -> None:
    """Make the table slide_id,case_id from MANIFEST, for --slide-table.

    The columns slide_kind (dx or frozen) and sample_type are filled in where known. Slides of
    normal tissue are kept; other commands leave them out unless --slide-samples all is given. Rows
    that name no slide or no case are listed in <output>.exclusions.csv.
    """
    from gimp_plugin.cohort.importing.slide_manifest import import_slides
    from gimp_plugin.slides.finding import NAMED_SUFFIXES, slide_name

    result = import_slides(
        manifest,
        sample_sheet,
        output=output,
        overwrite=overwrite,
        name_of=lambda name: (
            slide_name(Path(name)) if name.lower().endswith(NAMED_SUFFIXES) else ""
        ),
    )
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, sort_keys=True))
    else:
        nothing = "nothing to do, " if result.outcome != "done" else ""
        kinds = ", ".join(f"{count} {kind or 'of unknown kind'}" for kind, count in result.kinds)
        click.echo(
            f"{output}: {nothing}{result.n_slides} slides ({kinds}) of {result.n_cases} cases"
        )
    if result.n_bad:
        click.echo(f"{result.n_bad} rows were left out: {result.exclusions}", err=True)
        click.get_current_context().exit(PARTLY_DONE)
