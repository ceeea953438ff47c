"""Pictures in the page: decoded, resized and encoded again, so that only pixels are taken over."""

from __future__ import annotations

import base64
import io
import logging
import warnings
from pathlib import Path

from gimp_plugin.studies.report.blocks import Picture

logger = logging.getLogger(__name__)

QUALITY = 80
MOST_BYTES, MOST_PIXELS = 64 << 20, 40_000_000


def embedded(path: Path, *, side: int, alt: str, caption: str) -> Picture | None:
    """Embed a PNG in the page.

    Parameters
    ----------
    path
        The picture; it may be missing.
    side
        Maximum length of its longer side, in pixels.
    alt, caption
        Alternative text for readers who cannot see the picture, and caption.

    Returns
    -------
    The picture as JPEG in a data URI; the same pixels give the same bytes. None if there is no such
    picture, or it is too large or cannot be read.
    """
    from PIL import Image

    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below
            with Image.open(path, formats=["PNG"]) as image:
                if image.width * image.height > MOST_PIXELS:
                    return None
                small = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        logger.warning("picture %r cannot be read and is left out", path.name)
        return None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=QUALITY, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    return Picture(uri=uri, width=small.width, height=small.height, alt=alt, caption=caption)
