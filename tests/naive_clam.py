"""CLAM's segmentation and patches once more, plainly: one patch and one point at a time."""

from __future__ import annotations

import cv2
import numpy as np


def segment(picture, *, downsample, a_t=100, a_h=16):
    """Outlines of tissue with their holes, in pixels of the picture."""
    saturation = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1].copy()
    binary = (cv2.medianBlur(saturation, 7) > 8).astype(np.uint8)
    binary = cv2.erode(cv2.dilate(binary, np.ones((4, 4))), np.ones((4, 4)))
    unit = int(512 * 512 / (downsample * downsample))
    outlines, tree = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for index, outline in enumerate(outlines):
        if tree[0][index][3] != -1:
            continue
        holes = [outlines[i] for i in range(len(outlines)) if tree[0][i][3] == index]
        area = cv2.contourArea(outline) - sum(cv2.contourArea(hole) for hole in holes)
        if area <= a_t * unit:
            continue
        holes.sort(key=cv2.contourArea, reverse=True)
        pieces.append((outline, [h for h in holes[:8] if cv2.contourArea(h) > a_h * unit]))
    return pieces


def paint(pieces, shape):
    """Mask of the pieces, pixel by pixel of what lies inside or on the outline."""
    mask = np.zeros(shape, bool)
    for outline, holes in pieces:
        for y in range(shape[0]):
            for x in range(shape[1]):
                if cv2.pointPolygonTest(outline, (x, y), False) >= 0:
                    mask[y, x] |= not any(cv2.pointPolygonTest(h, (x, y), False) > 0 for h in holes)
    return mask


def patches(pieces, *, downsample, size, step):
    """Corners of the patches of each piece, in level-0 pixels."""
    corners = []
    for outline, holes in pieces:
        outer = np.array(outline * downsample, dtype="int32")
        inner = [np.array(hole * downsample, dtype="int32") for hole in holes]
        x0, y0, width, height = cv2.boundingRect(outer)
        corners.append(
            {
                (x, y)
                for x in range(x0, x0 + width, step)
                for y in range(y0, y0 + height, step)
                if _kept(outer, inner, x, y, size)
            }
        )
    return corners


def _kept(outline, holes, x, y, size):
    """Whether one of four points is in the tissue and the middle in no hole."""
    shift = int(size // 2 * 0.5)
    points = [
        (x + size // 2 + dx, y + size // 2 + dy) for dx in (-shift, shift) for dy in (-shift, shift)
    ]
    if not any(cv2.pointPolygonTest(outline, p, False) >= 0 for p in points):
        return False
    middle = (x + size / 2, y + size / 2)
    return not any(cv2.pointPolygonTest(hole, middle, False) > 0 for hole in holes)
