"""The fast look for values that are not finite, against numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from gimp_plugin.storage.finite import all_finite


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("n_rows", [1, 127, 128, 301])
def test_the_fast_look_for_infinite_values_says_what_isfinite_says(dtype, n_rows):
    rng = np.random.default_rng(n_rows)
    bits = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), (n_rows, 7), np.uint64)
    anything = bits.astype(f"u{dtype[1]}").view(dtype)
    finite = np.where(np.isfinite(anything), anything, 0).astype(dtype)

    assert all_finite(finite)
    for value in (np.nan, np.inf, -np.inf):
        spoilt = finite.copy()
        spoilt[-1, 3] = value
        assert not all_finite(spoilt)
    assert all_finite(np.full((3, 5), np.finfo(dtype).min, dtype))
    assert all_finite(finite[:0])
