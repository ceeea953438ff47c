"""Pictures of a slide: scores as colours over the tissue, and patches with extreme scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.viewing import View, ViewRequest, look_at
from gimp_plugin.storage.atomic import whole_file
from gimp_plugin.studies.explanation.compute import ATTENTION
from gimp_plugin.studies.explanation.slides import SLIDE, SlideScores

FOLDER = "pictures"
PICTURE_PX = 1024
PATCH_PX = 112
GAP_PX = 6
BAR_PX = 18
OPACITY = 0.5
EXTREME = 0.98
"""Quantile of the absolute scores of a slide at which its colours saturate."""

Pixels = NDArray[np.uint8]


def view_of(readers: SlideReaders, path: Path, slide: SlideScores, *, top: int) -> View:
    """Read a picture of a slide, and its patches with the highest and lowest scores.

    Parameters
    ----------
    readers
        Processes that read slides.
    path
        The slide.
    slide
        Scores of the slide.
    top
        Number of patches of each kind.

    Returns
    -------
    The picture and the patches, in the order of `extremes`.
    """
    corners = slide.place.corners
    chosen = [] if corners is None else corners[np.concatenate(extremes(slide, top=top))].tolist()
    request = ViewRequest(
        path=str(path.absolute()),
        picture_px=PICTURE_PX,
        corners=chosen,
        side=slide.place.side,
        patch_px=PATCH_PX,
    )
    return look_at(readers, request, timeout_s=600.0)


def extremes(slide: SlideScores, *, top: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Patches with the highest and the lowest scores, most extreme first; no patch is in both."""
    values = slide.columns[decisive(slide)]
    order = np.argsort(-values, kind="stable")
    n_low = min(top, len(values) // 2)
    n_high = min(top, len(values) - n_low)
    return order[:n_high], order[len(order) - n_low :][::-1]


def decisive(slide: SlideScores) -> str:
    """Main score of the patches: the attribution, if there is one."""
    return "attribution" if "attribution" in slide.columns else slide.kinds[0]


def overlay(slide: SlideScores, kind: str, view: View | None) -> Pixels:
    """Draw a score as colours over the tissue, with a colour bar.

    Attention is shown by rank in the slide; other scores are signed, and centred on 0.

    Parameters
    ----------
    slide
        The scores; the places of the patches must be known.
    kind
        Name of the score.
    view
        Picture of the slide; None draws on white.

    Returns
    -------
    RGB, as large as the picture of the slide and the bar.
    """
    from matplotlib import colormaps

    if slide.place.corners is None:
        raise RuntimeError("a slide without places has no map")
    picture, scale = _canvas(slide, view)
    signed = kind != ATTENTION
    values = slide.columns[kind if signed else f"{kind}{SLIDE}"].astype(np.float64)
    if signed:
        limit = np.quantile(np.abs(values), EXTREME) or 1.0
        values = 0.5 + 0.5 * np.clip(values / limit, -1, 1)
    colours = colormaps["RdBu_r" if signed else "viridis"]
    rgb = np.round(255 * colours(values)[:, :3]).astype(np.uint8)
    layer, covered = _painted(slide, rgb, picture.shape[:2], scale)
    opacity = OPACITY if view is not None else 1.0
    blended = (1 - opacity) * picture[covered] + opacity * layer[covered]
    picture[covered] = np.round(blended).astype(np.uint8)
    ends = ("against the class", "for the class") if signed else ("least", "most")
    bar = np.round(255 * colours(np.linspace(0, 1, picture.shape[1]))[:, :3]).astype(np.uint8)
    return np.concatenate([picture, _bar(bar, kind, ends)])


def sheet(slide: SlideScores, view: View, *, top: int) -> Pixels:
    """Draw the patches with the highest scores in one row and the lowest in another.

    Parameters
    ----------
    slide
        The scores.
    view
        The patches, from `view_of`.
    top
        Number of patches of each kind.

    Returns
    -------
    RGB.
    """
    kind = decisive(slide)
    rows, start = [], 0
    for title, chosen in zip(("highest", "lowest"), extremes(slide, top=top), strict=True):
        patches = view.patches[start : start + len(chosen)]
        start += len(chosen)
        values = slide.columns[kind][chosen]
        rows.append(_row(f"{title} {kind}", patches, values, width=top))
    return np.concatenate(rows)


def write_png(path: Path, pixels: Pixels) -> None:
    """Write a picture; the same pixels give the same bytes."""
    import cv2

    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _canvas(slide: SlideScores, view: View | None) -> tuple[Pixels, NDArray[np.float64]]:
    """Picture to draw on, and its pixels per level-0 pixel, in x and y."""
    if view is not None:
        height, width = view.picture.shape[:2]
        return view.picture.copy(), np.array([width, height]) / view.size
    ends = slide.place.corners.max(axis=0) + slide.place.side if slide.place.corners is not None \
        else np.ones(2)  # fmt: skip
    size = np.maximum(ends, slide.bag.slide_size or (1, 1))
    scale = min(1.0, PICTURE_PX / size.max())
    width, height = np.maximum(1, np.round(size * scale)).astype(int)
    return np.full((height, width, 3), 255, np.uint8), np.array([scale, scale])


def _painted(
    slide: SlideScores, rgb: Pixels, size: tuple[int, ...], scale: NDArray[np.float64]
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Colour of each pixel, and which of them have one."""
    layer = np.zeros((*size, 3), np.uint8)
    covered = np.zeros(size, bool)
    boxes = slide.as_attention().boxes() * np.tile(scale, 2)
    first = np.floor(boxes[:, :2] + 1e-6).astype(int)
    last = np.maximum(np.floor(boxes[:, 2:] + 1e-6).astype(int), first + 1)
    for (left, top), (right, bottom), colour in zip(
        first.tolist(), last.tolist(), rgb, strict=True
    ):
        layer[max(0, top) : bottom, max(0, left) : right] = colour
        covered[max(0, top) : bottom, max(0, left) : right] = True
    return layer, covered


def _bar(colours: Pixels, kind: str, ends: tuple[str, str]) -> Pixels:
    """Draw a colour bar, with its meaning below."""
    width = len(colours)
    bar = np.full((2 * BAR_PX + GAP_PX, width, 3), 255, np.uint8)
    bar[GAP_PX : GAP_PX + BAR_PX // 2] = colours
    texts = ((ends[0], 0.0), (kind, 0.5), (ends[1], 1.0))
    return _written(bar, texts, y=GAP_PX + BAR_PX // 2 + 3)


def _row(title: str, patches: Pixels, values: NDArray[np.float32], *, width: int) -> Pixels:
    """Draw patches side by side, with the value of each below."""
    step = PATCH_PX + GAP_PX
    row = np.full((PATCH_PX + 2 * BAR_PX + GAP_PX, width * step + GAP_PX, 3), 255, np.uint8)
    row = _written(row, ((title, 0.0),), y=2)
    for place, (patch, value) in enumerate(zip(patches, values, strict=True)):
        left = GAP_PX + place * step
        row[BAR_PX : BAR_PX + PATCH_PX, left : left + PATCH_PX] = patch
        label = row[BAR_PX + PATCH_PX :, left : left + PATCH_PX]
        row[BAR_PX + PATCH_PX :, left : left + PATCH_PX] = _written(
            label, ((f"{value:+.4f}", 0.5),), y=2
        )
    return row


def _written(pixels: Pixels, texts: tuple[tuple[str, float], ...], *, y: int) -> Pixels:
    """Write texts at fractions of the width."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for text, share in texts:
        length = draw.textlength(text, font=font)
        x = (pixels.shape[1] - length) * share
        draw.text((max(4 * (share == 0), x - 4 * (share == 1)), y), text, fill=(0, 0, 0), font=font)
    return np.array(picture)
