"""GiMP for TIAToolbox: cancer classification from a whole slide and a gene-expression profile."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gimp_plugin.prediction.model import GimpModel

__all__ = ["GimpModel", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the model on first access, so that importing the package stays cheap."""
    if name == "GimpModel":
        return import_module("gimp_plugin.prediction.model").GimpModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
