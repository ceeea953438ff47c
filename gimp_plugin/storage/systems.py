"""What the seeds and folds of one system share, as runs and tables of predictions note it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gimp_plugin.storage.differences import differences
from gimp_plugin.storage.run_files import read_object
from gimp_plugin.storage.runs import CONFIG, RunRecord

FROM_NOTHING = "nothing"
"""Start of a run that notes none: a pre-training."""


def system_of(record: RunRecord) -> dict[str, Any]:
    """Give what decides a run beside its seed, its splits and its cohort.

    The settings of the pre-training that a fine-tuning started from are not among it: only the kind
    of start is.

    Parameters
    ----------
    record
        A finished run, or a bundle, which does not tell its start.

    Returns
    -------
    `kind`, `config`, `encoder` and `scale`, as in `config.json`; where they are noted also
    `plugins`, and `start`: `run`, `genes`, `none` or `nothing`.

    Raises
    ------
    CheckpointError
        If `config.json` cannot be read.
    """
    stored = read_object(record.path / CONFIG, {"start": {"from": str}})
    told: dict[str, Any] = {
        "kind": record.kind,
        "config": record.config.to_dict(),
        "encoder": record.encoder,
        "scale": record.scale,
    }
    if "plugins" in stored:
        told["plugins"] = stored["plugins"]
    if "start" in stored:
        told["start"] = stored["start"].get("from", FROM_NOTHING)
    return told


def told_apart(one: Any, other: Any) -> list[str]:
    """Say what differs between two systems, of what both tell.

    Parameters
    ----------
    one, other
        What `system_of` gave, or a file that somebody else may have written says.

    Returns
    -------
    `key: value of one -> value of other`, a nested key with dots.

    Examples
    --------
    >>> told_apart({"start": "none", "scale": "tpm"}, {"start": "genes"})
    ['start: "none" -> "genes"']
    """
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return []
    first, second = _flat(one), _flat(other)
    both = first.keys() & second.keys()
    return differences({key: first[key] for key in both}, {key: second[key] for key in both})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}".lstrip(".")
        found |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return found
