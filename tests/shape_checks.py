"""Annotations checked at each call, by beartype; jaxtyping's import hook decorates with this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's annotations at each call, but for `Self`.

    The hook decorates methods one by one, and beartype knows what `Self` is in a class only.
    For each function, jaxtyping asks for two checks: of what is given, before the call, and of that
    again with what came back. The second looks at what came back alone here, which halves the time;
    the sizes of what was given are still known to it.
    """
    hints = getattr(function, "__annotations__", {})
    hints = {name: hint for name, hint in hints.items() if hint != "Self"}
    if hints.get("return", Any) is not Any:
        hints = {"return": hints["return"]}
    function.__annotations__ = hints
    return beartype(function)
