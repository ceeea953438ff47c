"""`--config FILE.toml`: values for the model, its training and the options of any command.

The tables `[model]`, `[genes]`, `[pretrain]` and `[finetune]` change the preset; their keys are the
fields of the configuration classes. `[options]` sets options of every command that has them,
`[options.COMMAND]` those of one command; their keys are the long names without dashes. Everything
is checked before anything runs, including the tables of other commands.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gimp_plugin.errors import ConfigError, did_you_mean

TABLES = "gimp_plugin.tables"
OPTIONS = "options"
PER_COMMAND = ("output",)

Options = dict[str, click.Option]


def config_option(command: click.Command) -> click.Option:
    """Make the option `--config` of a command."""

    def apply(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
        if path is None:
            return
        tables = read_settings(path)
        values = option_values(path, tables.pop(OPTIONS, {}), ctx.info_name or "")
        own = by_name(command)
        ctx.default_map = {str(own[key].name): value for key, value in values.items()}
        ctx.meta[TABLES] = tables

    return click.Option(
        ["--config"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=apply,
        help="Settings file ('gimp config' prints one); the command line overrides it.",
    )


def model_tables() -> dict[str, dict[str, Any]]:
    """Return the tables of the running command's settings file, without `options`."""
    tables: dict[str, dict[str, Any]] = click.get_current_context().meta.get(TABLES, {})
    return tables


def read_settings(path: Path) -> dict[str, Any]:
    """Read a settings file and check the tables of the model and its training.

    Parameters
    ----------
    path
        A TOML file.

    Returns
    -------
    The tables, including `options`, which is not checked.

    Raises
    ------
    ConfigError
        If it is not valid TOML, or a table, key or value is unknown or wrong.
    """
    from gimp_plugin.config import GimpConfig

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}") from error
    try:
        GimpConfig.from_dict({name: table for name, table in tables.items() if name != OPTIONS})
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r}: {error.problem}", hint=error.hint) from error
    return tables


def option_values(path: Path, table: object, command: str) -> dict[str, Any]:
    """Return the values that `[options]` and `[options.COMMAND]` give to one command.

    Parameters
    ----------
    path
        The settings file, for messages.
    table
        Content of `[options]`.
    command
        Name of the command that runs.

    Returns
    -------
    Values as typed on the command line, by the option's long name without dashes.

    Raises
    ------
    ConfigError
        If a command or an option is unknown, or a value does not fit its option.
    """
    from gimp_plugin.cli.commands import every

    where = f"{str(path)!r}: [{OPTIONS}"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{str(path)!r}: {OPTIONS} is {table!r}, expected a table")
    known = {name: by_name(each) for name, each in every()}
    shared = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    values = _shared_values(f"{where}] ", shared, known, command)
    for name in table.keys() - shared.keys():
        if name not in known:
            raise ConfigError(f"{where}.{name}] is not a command{did_you_mean(name, known)}")
        own = {
            key: as_typed(f"{where}.{name}] ", key, value, known[name])
            for key, value in table[name].items()
        }
        values |= own if name == command else {}
    return values


def by_name(command: click.Command) -> Options:
    """Return the options of a command that a file may set, by long name without dashes."""
    options = (param for param in command.params if isinstance(param, click.Option))
    named = {max(option.opts, key=len).lstrip("-"): option for option in options}
    return {name: option for name, option in named.items() if name != "config"}


def as_typed(where: str, key: str, value: object, options: Options) -> object:
    """Return a value as if it had been typed on the command line.

    Parameters
    ----------
    where
        File and table, for messages.
    key
        Long name of the option, without dashes.
    value
        Value from the file.
    options
        Options that the table may hold.

    Returns
    -------
    Text; a list of texts for an option that may be repeated (one value becomes a list of one); or
    the value of a flag.

    Raises
    ------
    ConfigError
        If the option is unknown or does not take the value.
    """
    if key not in options:
        raise ConfigError(f"{where}unknown option {key!r}{did_you_mean(key, options)}")
    option = options[key]
    if option.multiple and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        value = [value]
    fits = isinstance(value, bool) if option.is_flag else isinstance(value, (str, int, float, list))
    if (
        not fits
        or isinstance(value, list) is not option.multiple
        or (isinstance(value, bool) is not option.is_flag)
    ):
        wanted = "true or false" if option.is_flag else "a list" if option.multiple else "a value"
        raise ConfigError(f"{where}{key} = {value!r} is not valid, expected {wanted}")
    typed = value if isinstance(value, bool) else _text(value)
    try:
        option.type_cast_value(click.Context(click.Command(key)), typed)
    except click.BadParameter as error:
        raise ConfigError(f"{where}{key} = {value!r} is not valid: {error.message}") from error
    return typed


def _shared_values(
    where: str, shared: Mapping[str, object], known: Mapping[str, Options], command: str
) -> dict[str, Any]:
    """Check the values for all commands; return those of options that this command has."""
    union = {key: option for options in known.values() for key, option in options.items()}
    for key, value in shared.items():
        if key in PER_COMMAND:
            problem = f"{where}{key!r} cannot be the same for every command"
            raise ConfigError(problem, hint=f"set it in [{OPTIONS}.COMMAND]")
        for options in [each for each in known.values() if key in each] or [union]:
            as_typed(where, key, value, options)
    own = known[command]
    return {key: as_typed(where, key, value, own) for key, value in shared.items() if key in own}


def _text(value: object) -> object:
    """Return a number as text, a list as texts."""
    return [str(each) for each in value] if isinstance(value, list) else str(value)
