"""Weights from the Hugging Face hub: from its cache, or by an announced download."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from gimp_plugin.errors import GimpError, ResourceError

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def hub_file(repository: str, names: Sequence[str], *, offline: bool, licence: str = "") -> Path:
    """Return a file of a repository on the hub.

    Parameters
    ----------
    repository
        `owner/name`, with `@revision` if not the main one.
    names
        Acceptable file names, the best first.
    offline
        Do not download.
    licence
        Licence to announce with the download.

    Returns
    -------
    The file in the hub's cache.

    Raises
    ------
    ResourceError
        If it is neither in the cache nor available for download.
    """
    from huggingface_hub import constants

    cached = cached_file(repository, names)
    if cached is not None:
        return cached
    if offline or constants.HF_HUB_OFFLINE:
        reason = "--offline" if offline else "HF_HUB_OFFLINE"
        raise _out_of_reach(repository, names, f"{reason} forbids the download")
    where = constants.HF_HUB_CACHE
    logger.warning("downloading %s (licence %s) to %s", repository, licence or "unknown", where)
    return _downloaded(repository, names)


def cached_file(repository: str, names: Sequence[str]) -> Path | None:
    """Return a file of a repository from the hub's cache, or None, without downloading."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    for each in names:
        path = try_to_load_from_cache(name, each, revision=revision or None)
        if isinstance(path, str):
            return Path(path)
    return None


def _downloaded(repository: str, names: Sequence[str]) -> Path:
    """Download the first file that exists."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError

    name, _, revision = repository.partition("@")
    reason = "it holds none of these"
    for each in names:
        try:
            path = hf_hub_download(
                name, each, revision=revision or None, etag_timeout=CONNECT_SECONDS
            )
            return Path(path)
        except RemoteEntryNotFoundError:
            continue
        except GatedRepoError as error:
            reason = "it is gated: ask for access on its page, then run 'hf auth login'"
            raise _out_of_reach(repository, names, reason) from error
        except GimpError:
            raise
        except Exception as error:  # the hub's client may raise anything
            reason = f"the hub cannot be reached ({type(error).__name__})"
            raise _out_of_reach(repository, names, reason) from error
    raise _out_of_reach(repository, names, reason)


def _out_of_reach(repository: str, names: Sequence[str], reason: str) -> ResourceError:
    """Error for a file that is not available, with the ways to get it."""
    from huggingface_hub import constants

    name = repository.partition("@")[0]
    problem = f"no {' or '.join(names)} of {repository!r} in {constants.HF_HUB_CACHE!r}: {reason}"
    hint = (
        f"1. run 'hf download {name}' on a machine with a network, and copy its cache; "
        "2. give --weights FILE; 3. use --patch-encoder efficientnet-lite0"
    )
    return ResourceError(problem, hint=hint)
