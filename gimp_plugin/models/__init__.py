"""The model: tensors in, tensors out; it knows no file, device or command."""

from __future__ import annotations
