"""Our models in TIAToolbox: registry, engine, annotation stores.

Importing this package is quick and has no side effects. `tiatoolbox.models`, which takes seconds to
import, is imported only when needed, and leaves logging and warnings as they were.
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
    """Import objects that need TIAToolbox's models on first access."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gimp_plugin.toolbox import contract

    contract.check(_LATE[name])
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
