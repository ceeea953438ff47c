"""`gimp convert-features`: write the bags of one tool in the layout of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gimp_plugin.cli import options
from gimp_plugin.cli.outcome import PARTLY_DONE
from gimp_plugin.errors import counted

if TYPE_CHECKING:
    from gimp_plugin.studies.conversion import Conversion

NOTHING_DONE = 3


@click.command("convert-features", short_help="Write bags in the layout of another tool.")
@click.argument("features", type=options.FILE)
@click.option(
    "--to",
    type=options.Choice(["gimp", "clam-h5", "clam-pt", "trident-h5"]),
    required=True,
    help="Layout to write.",
)
@click.option("--encoder", default="", help="Encoder of bags that do not name theirs.")
@click.option(
    "--slide-table",
    type=options.FILE,
    help="CSV slide_id,mpp, for bags whose coords are not level-0 pixels (STAMP, TIAToolbox).",
)
@click.option(
    "--read-mpp",
    type=click.FloatRange(min=0.05, max=20),
    help="Microns per pixel that TIAToolbox's extractor was run with.",
)
@options.output("converted")
@options.overwrite
@options.as_json
def command(
    *,
    features: Path,
    to: str,
    encoder: str,
    slide_table: Path | None,
    read_mpp: float | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write FEATURES in the layout of another tool, or in ours.

    FEATURES is a bag or a folder of bags in any layout that gimp reads: gimp, CLAM, TRIDENT, STAMP,
    TIAToolbox, LazySlide. Bags that are up to date are kept; those that cannot be converted are
    listed in failures.csv.
    """
    from gimp_plugin.slides.resolutions import read_slide_mpps
    from gimp_plugin.studies.conversion import Wanted, convert

    wanted = Wanted(
        to=to,
        encoder=encoder,
        mpps=read_slide_mpps(slide_table) if slide_table else {},
        read_mpp=read_mpp or 0.0,
    )
    result = convert(features, wanted, output=output, overwrite=overwrite)
    _show(result, as_json=as_json)
    if result.failures:
        good = result.done or result.kept
        click.get_current_context().exit(PARTLY_DONE if good else NOTHING_DONE)


def _show(result: Conversion, *, as_json: bool) -> None:
    """Print how many bags were done, kept and failed."""
    for failure in result.failures:
        click.echo(f"{failure.item}: {failure.message}", err=True)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, sort_keys=True, ensure_ascii=False))
        return
    counts = (
        (len(result.done), "done"),
        (len(result.kept), "done before"),
        (len(result.failures), "failed"),
    )
    parts = [f"{counted(count, 'bag')} {what}" for count, what in counts if count]
    if not result.done and not result.failures:
        parts.insert(0, "nothing to do")
    click.echo(f"{result.output}: {', '.join(parts)}")
