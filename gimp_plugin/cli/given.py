"""Turn the options of a command into objects of the Python API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gimp_plugin.cli.settings import model_tables

if TYPE_CHECKING:
    from gimp_plugin.config import CohortSource, ExplainConfig, GimpConfig, Runtime

MODEL_OPTIONS = (
    *("modalities", "system", "gene_encoder", "aggregator", "head", "gene_grouping"),
    "n_top_genes",
)
STAGE_OPTIONS = ("epochs", "lr", "batch_size")
WEIGHT_OPTIONS = ("class_weights",)


def cohort_source(given: Mapping[str, Any]) -> CohortSource:
    """Take the inputs from a command's options."""
    from gimp_plugin.config import CohortSource

    return CohortSource(**_fields(CohortSource, given))


def runtime(given: Mapping[str, Any]) -> Runtime:
    """Take the device, the seed and other runtime settings from a command's options."""
    from gimp_plugin.config import Runtime

    return Runtime(**_fields(Runtime, given))


def explain_config(given: Mapping[str, Any]) -> ExplainConfig:
    """Take the settings of an explanation from a command's options."""
    from gimp_plugin.config import ExplainConfig

    return ExplainConfig(**_fields(ExplainConfig, given))


def gimp_config(
    given: Mapping[str, Any],
    *,
    stage: str,
    weighted: Sequence[str] = (),
    base: GimpConfig | None = None,
) -> GimpConfig:
    """Combine preset, settings file and options; each overrides those before it.

    Parameters
    ----------
    given
        Options of the command.
    stage
        Table that `--epochs`, `--lr` and `--batch-size` change.
    weighted
        Tables that `--class-weights` changes: those of the stages that learn classes.
    base
        Configuration to start from if no preset is given; by default the recommended preset.

    Returns
    -------
    The configuration.
    """
    from gimp_plugin.config import load_preset

    name = given["preset"]
    start = base if base is not None and name is None else load_preset(name or "recommended")
    changes = {
        f"{table}.{key}": value
        for table, values in model_tables().items()
        for key, value in values.items()
    }
    owners = [("model", MODEL_OPTIONS), (stage, STAGE_OPTIONS)]
    owners += [(table, WEIGHT_OPTIONS) for table in weighted]
    for table, names in owners:
        changes |= {f"{table}.{key}": given[key] for key in names if given.get(key) is not None}
    return start.replace(changes)


def _fields(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Select the options that are fields of a configuration class and were given."""
    return {
        key: value
        for key, value in given.items()
        if key in kind.__dataclass_fields__ and value is not None
    }
