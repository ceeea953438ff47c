"""Annotations checked at each call, by beartype; jaxtyping's import hook decorates with this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's annotations at each call, but for `Self`.

    The hook decorates methods one by one, and beartype knows what `Self` is in a class only.
    """
    hints = getattr(function, "__annotations__", {})
    function.__annotations__ = {name: hint for name, hint in hints.items() if hint != "Self"}
    return beartype(function)
