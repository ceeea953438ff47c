"""Telling the plugins about progress; the work continues even if a plugin fails.

Called in the main process only. If a plugin's function raises, a warning names the plugin.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from gimp_plugin.plugins.manager import implementations, in_one_line
from gimp_plugin.plugins.registry import registry

logger = logging.getLogger(__name__)


def tell_slide(slide_id: str, *, bag: Path, n_patches: int) -> None:
    """Tell the plugins that the bag of a slide is complete.

    Parameters
    ----------
    slide_id, bag, n_patches
        As in `gimp_slide_done`.
    """
    _tell("gimp_slide_done", slide_id=slide_id, bag=bag, n_patches=n_patches)


def tell_epoch(
    stage: str, epoch: int, *, n_epochs: int, metrics: Mapping[str, float], run: Path
) -> None:
    """Tell the plugins that an epoch is over.

    Parameters
    ----------
    stage, epoch, n_epochs, metrics, run
        As in `gimp_epoch_done`.
    """
    _tell("gimp_epoch_done", stage=stage, epoch=epoch, n_epochs=n_epochs, metrics=metrics, run=run)


def _tell(hook: str, **values: object) -> None:
    """Call every plugin's function; each gets its own copy of dictionaries."""
    loaded = registry().loaded
    if loaded is None:
        return
    for origin, implementation in implementations(loaded, hook):
        own = {name: dict(one) if isinstance(one, Mapping) else one for name, one in values.items()}
        try:
            implementation(**own)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin may raise anything
            logger.warning("plugin %s: %s raised %s", origin, hook, in_one_line(error))
