"""Find an encoder's weights: a file, the torch hub cache, or an announced download."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlparse

from gimp_plugin.errors import CheckpointError, MissingFileError, ResourceError
from gimp_plugin.storage.atomic import sha256_file, whole_file

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """Weights on a server, in a file whose name ends in the start of their hash.

    Parameters
    ----------
    url
        Their address, for instance `https://.../resnet50-0676ba61.pth`.
    licence
        Licence they are published under.
    megabytes
        Size of the download; 0 if unknown.
    """

    url: str
    licence: str
    megabytes: int = 0

    @property
    def filename(self) -> str:
        """Name of the file, including the hash."""
        return Path(urlparse(self.url).path).name


def find_weights(
    published: PublishedWeights, *, given: Path | None, offline: bool
) -> tuple[Path, str]:
    """Find an encoder's weights.

    A file that the user gives is used as it is, unless it has the published name. Such a file, and
    any file from the cache or the network, must have the hash in its name.

    Parameters
    ----------
    published
        The published weights.
    given
        The user's file, or None.
    offline
        Whether the network must not be used.

    Returns
    -------
    The file and its sha256.

    Raises
    ------
    ResourceError
        If no weights are available.
    """
    if given is not None:
        return given, checked_hash(given)
    cached = hub_folder() / published.filename
    if not cached.is_file():
        if offline:
            raise _out_of_reach(published, cached, "--offline forbids the download")
        _download(published, cached)
    return cached, checked_hash(cached)


def hub_folder() -> Path:
    """Return the folder of torch hub's downloads."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")  # noqa: PTH118  # as torch does
    return Path(home).expanduser() / "hub" / "checkpoints"


def checked_hash(path: Path) -> str:
    """Hash a weights file, and compare it with the hash in its name.

    Parameters
    ----------
    path
        A file.

    Returns
    -------
    Its sha256.

    Raises
    ------
    MissingFileError
        If it does not exist.
    """
    if not path.is_file():
        raise MissingFileError(f"no weights file {str(path)!r}", hint="check --weights")
    digest = sha256_file(path)
    check_hash(path, digest)
    return digest


def check_hash(path: Path, digest: str) -> None:
    """Refuse a file whose name has another hash.

    Parameters
    ----------
    path
        A file named `<name>-<first digits of its sha256>.<suffix>`; other names are not checked.
    digest
        Its sha256.

    Raises
    ------
    CheckpointError
        If they differ; the message has both.
    """
    promised = path.stem.rpartition("-")[2]
    is_hash = len(promised) >= 8 and set(promised) <= set("0123456789abcdef")
    if is_hash and not digest.startswith(promised):
        problem = f"{str(path)!r} has sha256 {digest}, but its name says {promised}..."
        raise CheckpointError(problem, hint="it is damaged or another file: download it again")


def _download(published: PublishedWeights, cached: Path) -> None:
    """Download weights into the cache, complete and with the right hash or not at all."""
    with _connect(published, cached) as response:
        logger.warning(
            "downloading %s (%d MB, licence %s) to %s",
            published.url, published.megabytes, published.licence, cached,
        )  # fmt: skip
        try:
            with whole_file(cached) as temporary:
                with temporary.open("wb") as file:
                    shutil.copyfileobj(response, _Progress(file, published.megabytes))
                check_hash(cached, sha256_file(temporary))
        except (OSError, EOFError) as error:
            raise _out_of_reach(
                published, cached, f"the download was interrupted: {error}"
            ) from error


def _connect(published: PublishedWeights, cached: Path) -> HTTPResponse:
    """Open the download within seconds, in a thread because name resolution has no timeout."""
    answers: list[HTTPResponse | Exception] = []

    def ask() -> None:
        try:
            answers.append(urllib.request.urlopen(published.url, timeout=CONNECT_SECONDS))  # noqa: S310  # https, by us
        except Exception as error:  # noqa: BLE001  # handled below, in the main thread
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 0.5)
    answer = answers[0] if answers else TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
    if isinstance(answer, Exception):
        raise _out_of_reach(published, cached, str(answer)) from answer
    return answer


class _Progress:
    """A file that shows the progress of the download, on a terminal."""

    def __init__(self, file: object, megabytes: int) -> None:
        from tqdm import tqdm

        self._file = file
        self._bar = tqdm(
            total=megabytes * 1_000_000,
            unit="B",
            unit_scale=True,
            disable=sys.stderr is None or not sys.stderr.isatty(),
        )

    def write(self, data: bytes) -> None:
        """Write data, and show the progress."""
        self._file.write(data)  # type: ignore[attr-defined]  # a binary file
        self._bar.update(len(data))


def _out_of_reach(published: PublishedWeights, cached: Path, reason: str) -> ResourceError:
    """Error for weights that are not available, with three ways to get them."""
    problem = f"no weights {published.filename!r} in {str(cached.parent)!r}, and {reason}"
    hint = (
        f"1. download {published.url} elsewhere and put it at {cached}; "
        "2. give --weights FILE; 3. use --patch-encoder efficientnet-lite0"
    )
    return ResourceError(problem, hint=hint)
