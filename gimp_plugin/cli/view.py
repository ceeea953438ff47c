"""`gimp view`: show a slide with the scores of its patches in TIAToolbox's viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import options

HOST = "127.0.0.1"


@click.command("view", short_help="Show a slide with its explanation in TIAToolbox's viewer.")
@click.argument("run", metavar="RUN", type=options.FILE)
@click.argument("slide", metavar="SLIDE", type=options.FILE)
@click.option(
    "--explanation",
    metavar="DIR",
    type=options.FILE,
    default=Path("explanation"),
    show_default=True,
    help="Folder that gimp explain wrote for RUN.",
)
@click.option(
    "--score",
    type=options.Choice(["attention", "attribution", "occlusion"]),
    show_default="the first available",
    help="Score that colours the patches, by rank within the slide.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port to use."
)
def command(*, run: Path, slide: Path, explanation: Path, score: str | None, port: int) -> None:
    """Show SLIDE with the patches that matter for RUN, from blue (least) to red (most).

    Serves a page on this machine only, until Ctrl-C. Nothing is written.
    """
    from tempfile import TemporaryDirectory

    from gimp_plugin.toolbox.viewing import viewer

    check_free(port)
    with TemporaryDirectory(prefix="gimp-view-") as folder:
        shown = viewer(run, slide, explanation, score=score, folder=Path(folder))
        click.echo(f"http://{HOST}:{port} shows {slide.name}; Ctrl-C ends it")
        serve(shown, port)


def serve(shown: Any, port: int) -> None:
    """Serve the viewer until it is interrupted."""
    shown.run(host=HOST, port=port, threaded=True)


def check_free(port: int) -> None:
    """Refuse a port that is in use, on which the server would end the process.

    Parameters
    ----------
    port
        The port.

    Raises
    ------
    ResourceError
        If the port cannot be used.
    """
    import socket

    from gimp_plugin.errors import ResourceError

    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            problem = f"port {port} cannot be served: {error.strerror}"
            raise ResourceError(problem, hint="choose another --port") from error
