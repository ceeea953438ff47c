"""Settings of the model that are refused before anything is made from them."""

from __future__ import annotations

import pytest

from gimp_plugin.config import ModelConfig
from gimp_plugin.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n_layers", 0, r"\[1, 1000\]"),
        ("n_layers", 10**9, r"\[1, 1000\]"),
        ("decoder_depth", -1, r"\[0, 1000\]"),
        ("decoder_depth", 10**9, r"\[0, 1000\]"),  # a list of so many layers would fill the memory
        ("decoder_width", -1, r"\[0, 1e\+09\]"),
        ("convolution_taps", -1, r"\[0, 1e\+09\]"),
        ("n_landmarks", 0, r"\[1, 1e\+09\]"),
    ],
)
def test_sizes_out_of_range_are_refused_with_the_range(name, value, expected):
    with pytest.raises(
        ConfigError, match=rf"{name} = {value} is out of range, expected {expected}"
    ):
        ModelConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("n_layers", 1), ("decoder_depth", 1000)])
def test_sizes_at_the_ends_of_the_range_are_taken(name, value):
    assert getattr(ModelConfig(**{name: value}), name) == value
