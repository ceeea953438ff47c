"""The whole configuration of a run, and the two presets that ship with the package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any, Self

from gimp_plugin.config.checks import Settings
from gimp_plugin.config.model import ModelConfig
from gimp_plugin.config.stages import FinetuneConfig, GeneStageConfig, PretrainConfig
from gimp_plugin.errors import ConfigError, did_you_mean

PRESETS = ("recommended", "paper")
TABLES: dict[str, type[Settings]] = {
    "model": ModelConfig,
    "genes": GeneStageConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GimpConfig:
    """Settings of the model and of its training, one table each.

    Parameters
    ----------
    model
        Settings of the model.
    genes, pretrain, finetune
        Settings of the three stages of training.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    genes: GeneStageConfig = field(default_factory=GeneStageConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the configuration from tables; missing tables and keys keep their defaults.

        Parameters
        ----------
        values
            Tables `model`, `genes`, `pretrain`, `finetune`.

        Returns
        -------
        The configuration.

        Raises
        ------
        ConfigError
            If a table or a key is unknown, or a value is not valid.
        """
        for table, content in values.items():
            if table not in TABLES:
                problem = f"unknown table [{table}]{did_you_mean(table, TABLES)}"
                raise ConfigError(problem, hint=f"known tables: {', '.join(TABLES)}; options")
            if not isinstance(content, Mapping):
                raise ConfigError(f"[{table}] is {content!r}, expected a table")
        made = {
            name: kind.from_dict(values.get(name, {}), table=name) for name, kind in TABLES.items()
        }
        return cls(**made)  # type: ignore[arg-type]  # the table's name decides its type

    def to_dict(self) -> dict[str, Any]:
        """Give all tables as plain values."""
        return asdict(self)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Give the configuration with some values changed.

        Parameters
        ----------
        changes
            Values by dotted name, for instance `{"model.dim": 128}`.

        Returns
        -------
        The new configuration.

        Raises
        ------
        ConfigError
            If a name is unknown or a value is not valid.
        """
        tables = self.to_dict()
        for name, value in changes.items():
            table, _, key = name.partition(".")
            tables.setdefault(table, {})[key] = value
        return self.from_dict(tables)


def load_preset(name: str = "recommended", changes: Mapping[str, Any] | None = None) -> GimpConfig:
    """Read a preset that ships with the package.

    Parameters
    ----------
    name
        `recommended`, or `paper` for a literal reading of the paper.
    changes
        Values by dotted name that replace those of the preset.

    Returns
    -------
    The configuration.

    Raises
    ------
    ConfigError
        If there is no such preset, or as for `GimpConfig.replace`.

    Examples
    --------
    >>> load_preset("paper").pretrain.reconstruction
    'sum'
    >>> load_preset("recommended", {"model.dim": 128}).model.dim
    128
    """
    if name not in PRESETS:
        problem = f"unknown preset {name!r}{did_you_mean(name, PRESETS)}"
        raise ConfigError(problem, hint=f"presets: {', '.join(PRESETS)}")
    text = files("gimp_plugin").joinpath(f"presets/{name}.toml").read_text(encoding="utf-8")
    return GimpConfig.from_dict(tomllib.loads(text)).replace(changes or {})
