"""Splits by case: draw them, in folds or by whole sites, read and write them, check for leaks."""

from __future__ import annotations
