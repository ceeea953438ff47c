"""Whether all values of an array are finite, in less time than numpy's `isfinite` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def all_finite(features: NDArray[Any]) -> bool:
    """Same as `np.isfinite(features).all()`, but in two passes without a copy.

    Parameters
    ----------
    features
        float16 or float32.

    Returns
    -------
    False if there is a NaN or an infinity.

    Examples
    --------
    >>> all_finite(np.array([1, np.inf], np.float16))
    False
    """
    half = features.dtype.itemsize == 2
    signed, infinity = (np.int16, 0x7C00) if half else (np.int32, 0x7F800000)
    bits: NDArray[Any] = np.ascontiguousarray(features).view(signed)
    below: NDArray[Any] = bits.view(f"u{bits.itemsize}")  # as such, negative values are largest
    sign = 1 << (8 * bits.itemsize - 1)
    return int(bits.max(initial=0)) < infinity and int(below.max(initial=0)) < sign + infinity
