"""Splits by case: drawn, in folds, by whole sites, read from tables, and checked for leaks."""

from __future__ import annotations
