"""How tissue is found: `otsu`, `morphological`, or `clam` with parameters."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import Any

from gimp_plugin.config.checks import Settings, require_choice, require_range
from gimp_plugin.errors import ConfigError

CLAM = "clam"
GIVEN = "given"
TISSUE_METHODS = ("otsu", "morphological", CLAM, GIVEN)
"""`given`: masks made elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClamSettings(Settings):
    """Parameters of CLAM's segmentation, with CLAM's names and defaults.

    Parameters
    ----------
    sthresh
        Saturation above which a pixel is tissue.
    use_otsu
        Whether to choose the saturation by Otsu's method instead.
    mthresh
        Side of the median filter, in pixels of the level that is segmented; odd.
    close
        Side of the square that closes gaps; 0 closes none.
    a_t, a_h
        Least area of a piece of tissue and of a hole, in squares of 512 level-0 pixels.
    max_n_holes
        Number of holes to keep in one piece, the largest first; the others are filled.
    """

    sthresh: int = 8
    use_otsu: bool = False
    mthresh: int = 7
    close: int = 4
    a_t: float = 100.0
    a_h: float = 16.0
    max_n_holes: int = 8

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("sthresh", self.sthresh, low=0, high=255)
        require_range("mthresh", self.mthresh, low=1, high=255)
        if self.mthresh % 2 == 0:
            raise ConfigError(f"mthresh = {self.mthresh!r}, expected an odd number")
        require_range("close", self.close, low=0, high=255)
        for name in ("a_t", "a_h"):
            require_range(name, getattr(self, name), low=0.0, high=1e6)
        require_range("max_n_holes", self.max_n_holes, low=0, high=10**6)


def parse_tissue(text: str) -> tuple[str, ClamSettings]:
    """Parse a text like `clam:a_t=16,use_otsu=true` into method and parameters.

    Parameters
    ----------
    text
        Text as typed after `--tissue`.

    Returns
    -------
    The method, and the parameters for `clam`.

    Raises
    ------
    ConfigError
        If there is no such method or parameter, or a value is wrong.

    Examples
    --------
    >>> parse_tissue("clam:a_t=16")[1].a_t
    16.0
    """
    method, colon, rest = text.partition(":")
    require_choice("tissue", method, TISSUE_METHODS)
    if colon and method != CLAM:
        raise ConfigError(f"tissue = {text!r}: {method!r} has no parameters")
    values: dict[str, Any] = {}
    for part in rest.split(",") if colon else ():
        name, _, value = part.partition("=")
        try:
            values[name.strip()] = tomllib.loads(f"value = {value.strip().lower()}")["value"]
        except tomllib.TOMLDecodeError:
            problem = f"tissue = {text!r}: {part!r} is not NAME=VALUE"
            raise ConfigError(problem, hint="for instance clam:a_t=16,use_otsu=true") from None
    try:
        return method, ClamSettings.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"tissue = {text!r}: {error.problem}", hint=error.hint) from error


def canonical_tissue(text: str) -> str:
    """Give the canonical spelling of a method, with only parameters that differ from the defaults.

    Parameters
    ----------
    text
        Text as typed.

    Returns
    -------
    The text to store.

    Examples
    --------
    >>> canonical_tissue("clam:a_t=16, a_h=16")
    'clam:a_t=16'
    """
    method, settings = parse_tissue(text)
    own = {field.name: getattr(settings, field.name) for field in fields(settings)}
    default = ClamSettings().to_dict()
    told = [
        f"{name}={str(value).lower().removesuffix('.0')}"
        for name, value in own.items()
        if value != default[name]
    ]
    return f"{method}:{','.join(told)}" if told else method
