"""The command `gimp`: find a command by name, run it, and end with its exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any

import click

import gimp_plugin
from gimp_plugin.cli import logs, outcome
from gimp_plugin.cli.commands import COMMANDS, blamed, load, load_foreign, n_failures, of_plugins
from gimp_plugin.errors import did_you_mean


class Gimp(click.Group):
    """A group that imports commands when needed and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names of our commands in order of use; those of plugins are listed apart."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        """Import a command; search plugins only for names that are not ours."""
        if cmd_name in COMMANDS:
            return load(cmd_name)
        found = of_plugins().get(cmd_name)
        return load_foreign(found) if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write our commands, then those of plugins, without importing the latter."""
        super().format_commands(ctx, formatter)
        rows = [
            (name, f"{one.summary} [{one.origin.distribution}]")
            for name, one in sorted(of_plugins().items())
        ]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)
        if n_failures():
            with formatter.section("Failed to load"):
                what = f"Parts of plugins: {n_failures()} ('gimp plugins' says which and why)"
                formatter.write_text(what)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            known = of_plugins()
            if name not in known:
                near = did_you_mean(name, [*COMMANDS, *known])
                lost = "; a plugin failed to load ('gimp plugins')" if n_failures() else ""
                ctx.fail(f"No such command {name!r}{near}{lost}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn whatever it raises into a message and an exit code."""
        with logs.attached(ctx.meta.get(logs.VERBOSITY, 0)):
            try:
                result = super().invoke(ctx)
                if sys.stdout is not None:
                    sys.stdout.flush()
            except click.ClickException as error:
                if outcome.is_helper():
                    ctx.exit(error.exit_code)
                raise
            except (click.exceptions.Exit, click.Abort, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # the one place for all errors
                tracebacks = ctx.meta.get(logs.VERBOSITY, 0) > 1
                told = blamed(ctx.invoked_subcommand or "", error)
                ctx.exit(outcome.report(told, tracebacks=tracebacks))
            return result


@click.group(
    cls=Gimp,
    params=[*logs.verbosity_options()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="From slides and genes to predictions: extract-features, pretrain, finetune, predict, "
    "evaluate. When run again, each continues where it stopped.",
)
@click.version_option(gimp_plugin.__version__, prog_name="gimp-plugin")
def cli() -> None:
    """Classify cancer from whole slides and gene expression (GiMP, MICCAI 2023)."""


def run() -> None:
    """Run the command line as the entry point of a process."""
    outcome.end_at_signals()
    if "LOCAL_RANK" in os.environ:  # else torch's C++ warns in each process of a launcher
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character it cannot show is no error
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        cli(prog_name="gimp")
    finally:
        if "LOCAL_RANK" in os.environ:  # a launcher terminates the others once one has ended
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
