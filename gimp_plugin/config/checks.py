"""Checks that all configuration objects share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Self, get_type_hints

from gimp_plugin.errors import ConfigError, did_you_mean


class Settings:
    """A configuration table; `from_dict` accepts only known keys with values of the right type."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, table: str = "") -> Self:
        """Make the settings from a mapping, for instance a table of a TOML file.

        Parameters
        ----------
        values
            Keys and values; missing keys keep their defaults.
        table
            Name of the table, for the message.

        Returns
        -------
        The settings.

        Raises
        ------
        ConfigError
            If a key is unknown, or a value has the wrong type or is out of range.
        """
        types = get_type_hints(cls)
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # dataclasses only
        where = f"[{table}] " if table else ""
        for key, value in values.items():
            if key not in known:
                problem = f"unknown key {where}{key!r}{did_you_mean(key, known)}"
                raise ConfigError(problem, hint=f"known keys: {', '.join(known)}")
            if not _fits(value, types[key]):
                problem = f"{where}{key} = {value!r} has the wrong type"
                raise ConfigError(problem, hint=f"expected {_spelled(types[key])}")
        return cls(**{key: _converted(value, types[key]) for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain values."""
        return asdict(self)  # type: ignore[call-overload]  # dataclasses only


def require_range(
    name: str,
    value: float | None,
    *,
    low: float,
    high: float,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuse a number outside the range from low to high; None passes."""
    if value is None:
        return
    above = low < value if open_low else low <= value
    below = value < high if open_high else value <= high
    if not (above and below):
        ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ConfigError(f"{name} = {value!r} is out of range, expected {ends}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not among the choices."""
    if value not in choices:
        problem = f"{name} = {value!r} is unknown{did_you_mean(value, choices)}"
        raise ConfigError(problem, hint=f"choose from {', '.join(choices)}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from TOML fits a field's type; a whole number fits a float."""
    kinds = getattr(kind, "__args__", (kind,)) if not _is_tuple(kind) else (tuple, list)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _converted(value: Any, kind: Any) -> Any:
    """Convert lists from TOML to tuples, and integers to floats if the field is a float."""
    if isinstance(value, list):
        return tuple(value)
    kinds = getattr(kind, "__args__", (kind,))
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in kinds and int not in kinds else value


def _is_tuple(kind: Any) -> bool:
    """Whether a type is tuple[...]."""
    return getattr(kind, "__origin__", None) is tuple


def _spelled(kind: Any) -> str:
    """Name of a type, for messages."""
    return str(getattr(kind, "__name__", kind)) if not _is_tuple(kind) else "a list"
