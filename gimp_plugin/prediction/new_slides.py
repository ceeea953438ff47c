"""Make bags of new slides in the same way as those that a run was trained on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gimp_plugin.assembly.load import check_component
from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.config.sources import PORTABLE
from gimp_plugin.config.tissue import GIVEN
from gimp_plugin.errors import CheckpointError, ConfigError, SafetyError, SlideError
from gimp_plugin.slides.encoders import KIND, imports_code
from gimp_plugin.slides.extraction import ExtractionResult, extract_features
from gimp_plugin.slides.resolutions import read_slide_mpps
from gimp_plugin.storage.runs import RunRecord, read_run
from gimp_plugin.storage.tables import Failure


def extract_for(  # noqa: PLR0913  # what the command takes
    run: Path,
    slides: Sequence[Path],
    *,
    output: Path,
    runtime: Runtime,
    weights: Path | None = None,
    slide_mpp: float = 0.0,
    slide_table: Path | None = None,
    masks: Path | None = None,
    offline: bool = False,
) -> ExtractionResult:
    """Extract the features of slides in the same way as the run's own bags.

    Parameters
    ----------
    run
        The run.
    slides
        Slide files and folders of slides.
    output
        Folder of the bags.
    runtime
        Device and precision.
    weights
        Weights file of the patch encoder, if it does not find its own.
    slide_mpp
        Resolution of slides that do not state theirs; 0 if unknown.
    slide_table
        A CSV whose column `mpp`, if it has one, gives that resolution for each slide.
    masks
        Folder with a mask for each slide, if the run's own bags were made with masks.
    offline
        Do not download weights.

    Returns
    -------
    The outcome for each slide.

    Raises
    ------
    CheckpointError
        If the run does not record how its bags were made.
    PluginError
        If the plugin that provides its patch encoder is not installed.
    SlideError
        If no slide could be read, or the table gives one an impossible resolution.
    """
    record = read_run(run)
    noted = record.components.get(KIND)
    if noted is not None:
        check_component(record, KIND, noted["name"])
    config = extraction_config(record, weights=weights, slide_mpp=slide_mpp, masks=masks)
    mpps = {} if slide_table is None else read_slide_mpps(slide_table)
    options = ReadingOptions(offline=offline, slide_mpps=mpps)
    result = extract_features(slides, config, output=output, runtime=runtime, options=options)
    if result.failures and not (result.done or result.kept):
        problem = f"none of {len(result.failures)} slides could be read: {why(result.failures)}"
        raise SlideError(problem, hint=f"see {str(output / 'failures.csv')!r} for details")
    return result


def why(failures: Sequence[Failure], *, limit: int = 3) -> str:
    """List the first few slides that failed, with reasons."""
    told = [f"{one.item!r} ({one.message})" for one in failures[:limit]]
    more = [f"and {len(failures) - limit} more"] if len(failures) > limit else []
    return "; ".join([*told, *more])


def extraction_config(
    record: RunRecord,
    *,
    weights: Path | None = None,
    slide_mpp: float = 0.0,
    masks: Path | None = None,
) -> ExtractionConfig:
    """Restore the configuration that a run's bags were made with.

    Parameters
    ----------
    record
        The run.
    weights, slide_mpp, masks
        Settings that the run does not hold.

    Returns
    -------
    The configuration.

    Raises
    ------
    CheckpointError
        If the run has no slides, or its bags did not record how they were made.
    ConfigError
        If masks are given and its bags were made without, or the other way round.
    SafetyError
        If its patch encoder is an import string: a file must not decide which code is run.
    """
    if not record.extraction:
        problem = f"run {str(record.path)!r} does not record how its bags were made"
        hint = "extract the slides yourself, and give the folder as --features"
        raise CheckpointError(problem, hint=hint)
    stored = {key: value for key, value in record.extraction.items() if key in PORTABLE}
    encoder = str(stored.get("patch_encoder", ""))
    if imports_code(encoder):
        problem = f"run {str(record.path)!r} names code as its patch encoder: {encoder!r}"
        options = " ".join(
            f"--{key.replace('_', '-')} {shlex.quote(str(value))}"
            for key, value in stored.items()
            if value != getattr(ExtractionConfig(), key)
        )
        hint = f"run 'gimp extract-features SLIDES {options}', and give its folder as --features"
        raise SafetyError(problem, hint=hint)
    stored |= {"weights": str(weights or ""), "slide_mpp": slide_mpp}
    stored |= {"masks": str(masks or "")}
    if masks and stored.get("tissue") != GIVEN:
        problem = f"run {str(record.path)!r} was trained on tissue {stored.get('tissue')!r}"
        raise ConfigError(f"{problem}, not on masks made elsewhere", hint="leave --masks out")
    if not masks and stored.get("tissue") == GIVEN:
        problem = f"run {str(record.path)!r} was trained on tissue from masks made elsewhere"
        raise ConfigError(problem, hint="give those of the new slides with --masks")
    return ExtractionConfig.from_dict(stored)
