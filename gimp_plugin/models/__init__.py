"""The model: tensors in, tensors out, independent of files, devices and commands."""

from __future__ import annotations
