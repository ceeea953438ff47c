"""The TIAToolbox side of our models: registry, engine, annotation stores.

Importing this room is quick and changes nothing; `tiatoolbox.models`, which takes seconds, is
imported by what needs it, and leaves logging and warnings as they were.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gimp_plugin.toolbox.registry import register, toolbox_name

if TYPE_CHECKING:
    from gimp_plugin.toolbox.encoder import PatchEncoderModel, patch_encoder
    from gimp_plugin.toolbox.engine import GimpPredictor
    from gimp_plugin.toolbox.stores import attention_renderer

__all__ = [
    "GimpPredictor",
    "PatchEncoderModel",
    "attention_renderer",
    "patch_encoder",
    "register",
    "toolbox_name",
]

_LATE = {
    "GimpPredictor": "engine",
    "PatchEncoderModel": "encoder",
    "attention_renderer": "stores",
    "patch_encoder": "encoder",
}


def __getattr__(name: str) -> Any:
    """Import what needs TIAToolbox's models when it is asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gimp_plugin.toolbox import contract

    contract.check(_LATE[name])
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
