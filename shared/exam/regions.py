"""Boxes and masks of a film, moved as the film is: hung as its tags say, grown, cut to the window.

What is given lies on the film as it is stored; a ``Picture`` says how it was hung. Imports pixels.

Legend: h w pixels of a film · n of a prepared one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.exam.pixels import Picture, Window

Mask = NDArray[np.bool_]
Box = tuple[float, float, float, float]  # left, top, right, bottom edges in pixels of the stored film


def stored_shape(picture: Picture) -> tuple[int, int]:
    """Rows and columns of the film as it is stored."""
    height, width = picture.pixels.shape
    return (width, height) if np.transpose in picture.turns else (height, width)


def hang_box(box: Box, picture: Picture) -> Window:
    """A box on the stored film as top, left, bottom, right on its picture."""
    left, top, right, bottom = box
    height, width = stored_shape(picture)
    for turn in picture.turns:
        if turn is np.transpose:
            top, left, bottom, right = left, top, right, bottom
            height, width = width, height
        elif turn is np.fliplr:
            left, right = width - right, width - left
        else:
            top, bottom = height - bottom, height - top
    return top, left, bottom, right


def hang_mask(mask: Mask, picture: Picture) -> Mask:
    """A mask of the stored film [h,w] on its picture [h,w]."""
    for turn in picture.turns:
        mask = turn(mask)
    return mask


def box_of(mask: Mask) -> Window:
    """The smallest window around what is True, of which there must be some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def grow(window: Window, margin: float) -> Window:
    """A window with so large a share of its own height and width added on every side."""
    top, left, bottom, right = window
    tall, wide = (bottom - top) * margin, (right - left) * margin
    return top - tall, left - wide, bottom + tall, right + wide


def cut_mask(mask: Mask, window: Window, n: int, *, mirror: bool = False) -> Mask:
    """A picture's mask [h,w] in a window, [n,n]: each pixel says what lies at its middle.

    Args:
        mask: of the picture.
        window: top, left, bottom, right in pixels of the picture; what lies beyond it is False.
        n: edge of the result.
        mirror: whether the film was mirrored when it was prepared.
    """
    top, left, bottom, right = window
    padded = np.pad(mask, 1)  # an edge of False around it
    rows, columns = (
        np.clip(np.floor(low + (np.arange(n) + 0.5) * (high - low) / n), -1, size).astype(np.intp) + 1
        for low, high, size in ((top, bottom, mask.shape[0]), (left, right, mask.shape[1]))
    )
    cut = padded[np.ix_(rows, columns)]
    return cut[:, ::-1] if mirror else cut
