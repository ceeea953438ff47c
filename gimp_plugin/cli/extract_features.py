"""`gimp extract-features`: one bag of patch features per slide."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gimp_plugin.cli import options
from gimp_plugin.cli.outcome import PARTLY_DONE
from gimp_plugin.config import GEOMETRIES, ExtractionConfig, ReadingOptions, geometry_values
from gimp_plugin.config.sources import GRIDS
from gimp_plugin.errors import counted

if TYPE_CHECKING:
    from gimp_plugin.slides.extraction import ExtractionResult
    from gimp_plugin.slides.forecast import Forecast

NOTHING_DONE = 3
DEFAULT = ExtractionConfig()


def _shard(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    """Parse `I/N`, a part of the slides."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        problem = f"{text!r} is not a part I/N with I from 0 to N-1, for instance 0/4"
        raise click.BadParameter(problem)
    return int(part), int(parts)


@click.command("extract-features", short_help="Read slides; writes one bag of features for each.")
@click.argument("slides", nargs=-1, required=True, type=options.FILE)
@click.option(
    "--patch-encoder",
    metavar="NAME[:ARGUMENT]",
    default=DEFAULT.patch_encoder,
    show_default=True,
    help="Patch encoder ('gimp plugins' lists them), or MODULE:ATTRIBUTE for your own network.",
)
@click.option(
    "--weights",
    type=options.FILE,
    show_default="the encoder's own",
    help="Weights file of the encoder.",
)
@click.option(
    "--mpp",
    type=float,
    default=DEFAULT.mpp,
    show_default=True,
    help="Target resolution, microns per pixel.",
)
@click.option(
    "--slide-mpp",
    type=float,
    metavar="FLOAT",
    help="Microns per pixel of slides that do not state theirs; never overrides a stated value.",
)
@click.option(
    "--slide-table", type=options.FILE, help="CSV slide_id,mpp: --slide-mpp for each slide."
)
@click.option(
    "--patch-size",
    type=int,
    default=DEFAULT.patch_size,
    show_default=True,
    help="Side of a patch in pixels at --mpp.",
)
@click.option(
    "--stride",
    type=int,
    show_default="the patch size",
    help="Step between patches in pixels at --mpp.",
)
@click.option(
    "--geometry",
    type=options.Choice(list(GEOMETRIES)),
    help="Set --mpp, --patch-size, --stride, --input-size, --tissue, --min-tissue and --grid as "
    "the paper, CLAM or TRIDENT do; any of these options given as well overrides it.",
)
@click.option(
    "--input-size",
    type=int,
    show_default="the patch size",
    help="Side in pixels to which patches are resized for the encoder.",
)
@click.option(
    "--grid",
    type=options.Choice(list(GRIDS)),
    default=DEFAULT.grid,
    show_default=True,
    help="Where patches lie: inside the slide, also across its right and lower edges, or around "
    "each piece of tissue.",
)
@click.option(
    "--tissue",
    metavar="otsu|morphological|clam[:NAME=VALUE,...]",
    default=DEFAULT.tissue,
    show_default=True,
    help="How tissue is found: as by TIAToolbox (otsu, morphological) or as by CLAM.",
)
@options.masks
@click.option(
    "--min-tissue",
    type=float,
    default=DEFAULT.min_tissue,
    show_default=True,
    help="Minimum share of tissue in a patch.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    show_default="16; 256 on CUDA",
    help="Patches per batch.",
)
@click.option(
    "--slide-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds, in total, that reading one slide may keep the encoder waiting.",
)
@click.option(
    "--num-workers",
    type=click.IntRange(min=1),
    show_default="1; up to 8 on CUDA",
    help="Number of processes that read each slide.",
)
@click.option(
    "--max-bad-patches",
    type=float,
    default=DEFAULT.max_bad_patches,
    show_default=True,
    help="Maximum share of a slide's patches that may be unreadable; these are left out.",
)
@click.option(
    "--shard",
    callback=_shard,
    default="0/1",
    show_default=True,
    metavar="I/N",
    help="Do part I (from 0) of N parts of the slides, for job arrays.",
)
@options.scheduler
@click.option(
    "--thumbnails",
    is_flag=True,
    help="Also write a picture of each slide with tissue and patches, and a page that shows all.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the expected patches, bytes and hours; write and download nothing.",
)
@options.device
@options.precision
@options.overwrite
@options.offline
@options.as_json
@options.output("features")
def command(
    *,
    slides: tuple[Path, ...],
    slide_table: Path | None,
    batch_size: int | None,
    slide_timeout: float,
    shard: tuple[int, int],
    scheduler: str,
    geometry: str | None,
    thumbnails: bool,
    dry_run: bool,
    offline: bool,
    as_json: bool,
    output: Path,
    **given: Any,
) -> None:
    """Cut the tissue of SLIDES into patches and encode them.

    SLIDES are slide files, or folders that are searched for slides; a folder of DICOM files is one
    slide. Complete bags are kept; slides that fail are listed in failures.csv and tried again next
    time.
    """
    from gimp_plugin.cli.given import runtime
    from gimp_plugin.slides.resolutions import read_slide_mpps

    values = _config_values(given)
    _choose_tissue(values)
    config = ExtractionConfig.from_dict(_geometry_values(geometry) | values)
    how: dict[str, Any] = {
        "runtime": runtime(given),
        "options": ReadingOptions(
            slide_mpps=read_slide_mpps(slide_table) if slide_table else {},
            batch_size=batch_size or 0,
            slide_timeout_s=slide_timeout,
            shard=shard,
            offline=offline,
            thumbnails=thumbnails,
        ),
    }
    if dry_run:
        from gimp_plugin.slides.forecast import forecast

        expected = forecast(slides, config, **how)
        _show_forecast(expected, as_json=as_json)
        _exit(failed=bool(expected.failures), done=bool(expected.n_patches))
        return
    from gimp_plugin.slides.extraction import extract_features

    result = extract_features(slides, config, output=output, scheduler=scheduler, **how)
    _show(result, as_json=as_json)
    _exit(failed=bool(result.failures), done=bool(result.done or result.kept))


def _exit(*, failed: bool, done: bool) -> None:
    """Exit with the code for some or no slides done; do nothing if none failed."""
    if failed:
        click.get_current_context().exit(PARTLY_DONE if done else NOTHING_DONE)


def _choose_tissue(values: dict[str, Any]) -> None:
    """Keep one of --tissue and --masks: the command line overrides a settings file."""
    if not values.keys() >= {"tissue", "masks"}:
        return
    source_of = click.get_current_context().get_parameter_source
    typed = [key for key in ("tissue", "masks") if source_of(key) is ParameterSource.COMMANDLINE]
    if len(typed) != 1:
        raise click.UsageError("give --tissue or --masks, not both")
    del values["masks" if typed == ["tissue"] else "tissue"]


def _geometry_values(name: str | None) -> dict[str, Any]:
    """Return the values that a geometry sets."""
    return {} if name is None else geometry_values(name)


def _config_values(given: dict[str, Any]) -> dict[str, Any]:
    """Select the options that are fields of the configuration and were given."""
    fields, source_of = ExtractionConfig.__dataclass_fields__, click.get_current_context()
    values = {
        key: value
        for key, value in given.items()
        if key in fields
        and value is not None
        and source_of.get_parameter_source(key) is not ParameterSource.DEFAULT
    }
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _show(result: ExtractionResult, *, as_json: bool) -> None:
    """Print how many slides were done, kept and failed."""
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, sort_keys=True))
        return
    counts = (
        (len(result.done), "done"),
        (len(result.kept), "done before"),
        (len(result.failures), "failed"),
    )
    parts = [f"{counted(count, 'slide')} {what}" for count, what in counts if count]
    if result.done:
        speed = result.n_patches / result.seconds
        parts.append(f"{counted(result.n_patches, 'patch', 'patches')}, {speed:.0f} patches/s")
    elif not result.failures:
        parts.insert(0, "nothing to do")
    click.echo(f"{result.output}: {', '.join(parts)}")
    if result.failures:
        click.echo(f"failures are listed in {result.output / 'failures.csv'}", err=True)


def _show_forecast(expected: Forecast, *, as_json: bool) -> None:
    """Print what an extraction would do."""
    if as_json:
        click.echo(json.dumps(asdict(expected), indent=1, sort_keys=True))
        return
    for slide_id, count in expected.n_patches.items():
        click.echo(f"{slide_id}: {count} patches")
    for slide_id, reason in expected.failures.items():
        click.echo(f"{slide_id}: would fail: {reason}")
    total = f"{sum(expected.n_patches.values())} patches"
    if expected.n_bytes is None or expected.hours is None:
        click.echo(f"{total}; bytes and hours are not known: a dry run downloads nothing")
        click.echo(f"the encoder is not available: {expected.lacking}", err=True)
        return
    click.echo(f"{total}, {expected.n_bytes / 1e6:.1f} MB, about {expected.hours:.2f} hours")
