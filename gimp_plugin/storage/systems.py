"""What all seeds and folds of one system share, as noted in runs and tables of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gimp_plugin.storage.differences import differences
from gimp_plugin.storage.run_files import read_object
from gimp_plugin.storage.runs import CONFIG, RunRecord

FROM_NOTHING = "nothing"
"""Start of a run that notes none, which is a pre-training."""


def system_of(record: RunRecord) -> dict[str, Any]:
    """Return what determines a run besides its seed, splits and cohort.

    Of the pre-training that a fine-tuning started from, only the kind of start is included, not the
    settings.

    Parameters
    ----------
    record
        A finished run, or a bundle, which does not state its start.

    Returns
    -------
    `kind`, `config`, `encoder` and `scale`, as in `config.json`; if noted, also `plugins`, and
    `start`: `run`, `genes`, `none` or `nothing`.

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
    """Say what differs between two systems, as far as both state it.

    Parameters
    ----------
    one, other
        Results of `system_of`, possibly from a file that somebody else wrote.

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
