"""Patch encoders: their contract, how they are found by name, and the built-in ones.

An encoder's weights are found, or reported as unavailable, before any slide is opened. The families
(`timm:NAME`, `torchvision:NAME`, `tiatoolbox:NAME`, `module:attribute`) are registered components,
like single encoders.
"""

from __future__ import annotations

from gimp_plugin.slides.encoders.contract import UNTRAINED, Encoder, PatchEncoder
from gimp_plugin.slides.encoders.finding import (
    KIND,
    find_encoder,
    imports_code,
    is_family,
)
from gimp_plugin.slides.encoders.own import RESNET50, efficientnet_lite0, resnet50, untrained

__all__ = [
    "KIND",
    "RESNET50",
    "UNTRAINED",
    "Encoder",
    "PatchEncoder",
    "efficientnet_lite0",
    "find_encoder",
    "imports_code",
    "is_family",
    "resnet50",
    "untrained",
]
