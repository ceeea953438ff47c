"""Geometries: how other tools place patches, as values of several options under one name."""

from __future__ import annotations

from typing import Any

from gimp_plugin.config.checks import require_choice

_CLAM: dict[str, Any] = {
    "tissue": "clam", "grid": "contours", "min_tissue": 0.0,
    "mpp": 0.5, "patch_size": 256, "stride": 0, "input_size": 0,
}  # fmt: skip

GEOMETRIES: dict[str, dict[str, Any]] = {
    "paper": _CLAM,
    "clam": _CLAM | {"input_size": 224},
    "trident": {
        "grid": "cover", "min_tissue": 0.0, "mpp": 0.5, "patch_size": 256, "stride": 0,
        "input_size": 0,
    },
}  # fmt: skip
"""Fields of `ExtractionConfig` by the name of the geometry."""


def geometry_values(name: str) -> dict[str, Any]:
    """Give the options of a geometry.

    Parameters
    ----------
    name
        `paper`, `clam` or `trident`.

    Returns
    -------
    Fields of `ExtractionConfig`, a copy that may be changed.

    Raises
    ------
    ConfigError
        If there is no such geometry.

    Examples
    --------
    >>> geometry_values("clam")["input_size"]
    224
    """
    require_choice("geometry", name, tuple(GEOMETRIES))
    return dict(GEOMETRIES[name])
