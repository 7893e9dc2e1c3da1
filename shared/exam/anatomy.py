"""Where the anatomy lies on a film: a small network that knows one landmark, read with numpy alone.

The network takes a film at 4 mm per pixel and says for every place how surely the landmark is there; it
has seen public synthetic films only, and its weights are a file of ``landmarks/``. A film whose spacing
is unknown is tried at several; one whose bones turn out dark is turned over. Products of matrices are
taken by one thread: with several their last bits, and with them a film's window, would depend on the
machine's cores and on who asks. Imports resize, numpy, scipy, safetensors and threadpoolctl. Legend: c
channels · h w pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import expit
from threadpoolctl import ThreadpoolController

from shared.exam.resize import average, even_edges

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

PIXEL_MM = 4.0
FIELD_MM = (90.0, 460.0)  # longer edge of an exposed field, where the spacing is unknown
SCALE_STEP = 1.1  # between two spacings that are tried
_STRIDE = 2  # of the map of confidences
# Each layer: (name, stride, dilation). The last is a 1 x 1 convolution.
LAYERS = (
    ("first", 1, 1),
    ("second", _STRIDE, 1),
    ("third", 1, 1),
    ("fourth", 1, 2),
    ("fifth", 1, 4),
    ("sixth", 1, 1),
)


@dataclass(frozen=True)
class Anatomy:
    """One landmark: ``file`` has its network, below ``least_confidence`` a film is not read."""

    file: str
    landmark: str
    least_confidence: float


ANATOMIES: Mapping[str, Anatomy] = {
    "hip": Anatomy("hip.safetensors", "the middle of the femoral neck", 0.5),
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """The landmark in pixels of the picture that was searched; a pixel's middle lies at a half.

    ``scale``: mm per unit of the spacing that was given, 1 where that was in mm. ``confidence`` from 0
    to 1. ``is_inverted``: bones were dark.
    """

    row: float
    column: float
    scale: float
    confidence: float
    is_inverted: bool


def find_landmark(
    picture: Floats,
    exposed: Mask,
    *,
    spacing: tuple[float, float],
    is_known: bool,
    anatomy: str,
) -> Found:
    """The surest place of a landmark.

    Args:
        picture: [h,w], bright where it attenuates, right sides mirrored.
        exposed: [h,w], what ``find_exposed`` says.
        spacing: (row, column) in mm, or relative.
        is_known: whether it is in mm; else several scales are tried.
        anatomy: a key of ``ANATOMIES``.
    """
    known = ANATOMIES[anatomy]
    grey = _grey(picture, exposed)
    scales = [1.0] if is_known else list(_scales(exposed, spacing))

    def surest(grey: Floats, is_inverted: bool) -> Found:
        looks = [_look(grey, exposed, spacing, scale, is_inverted, known) for scale in scales]
        return max(looks, key=lambda found: found.confidence)

    with _libraries().limit(limits=1, user_api="blas"):
        found = surest(grey, False)
        if found.confidence < known.least_confidence:
            inverted = surest(1 - grey, True)
            found = inverted if inverted.confidence >= known.least_confidence else found
    return found


def network_input(picture: Floats, exposed: Mask) -> Floats:
    """What the network takes: [2,h,w], grey in [-1,1] and 0 outside, and what was exposed."""
    return _channels(_grey(picture, exposed), exposed)


def _scales(exposed: Mask, spacing: tuple[float, float]) -> Iterator[float]:
    edge = max(exposed.any(axis=1).sum() * spacing[0], exposed.any(axis=0).sum() * spacing[1])
    edge_mm = FIELD_MM[0]
    while edge_mm <= FIELD_MM[1]:
        yield edge_mm / float(edge)
        edge_mm *= SCALE_STEP


def _grey(picture: Floats, exposed: Mask) -> Floats:
    """Grey from 0 to 1 between the 2nd and the 98th percentile of the exposed field."""
    low, high = np.percentile(picture[exposed], (2, 98))
    grey: Floats = np.clip((picture - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    return grey


def _channels(grey: Floats, exposed: Mask) -> Floats:
    inside = exposed.astype(np.float32)
    return np.stack([(2 * grey - 1) * inside, inside])


def _look(
    grey: Floats,
    exposed: Mask,
    spacing: tuple[float, float],
    scale: float,
    is_inverted: bool,
    known: Anatomy,
) -> Found:
    """Run the network at one scale, and place its peak between pixels."""
    shape = scaled_shape(grey.shape, (spacing[0] * scale, spacing[1] * scale))
    scaled = scale_channels(_channels(grey, exposed), shape)
    confidences = expit(_run(scaled, _weights(known.file)))  # [h/2,w/2]
    row, column = np.unravel_index(int(confidences.argmax()), confidences.shape)
    top, left = max(0, row - 1), max(0, column - 1)
    near = confidences[top : row + 2, left : column + 2].astype(np.float64)
    rows, columns = np.mgrid[top : top + near.shape[0], left : left + near.shape[1]]
    at = [float((near * place).sum() / near.sum()) * _STRIDE + 0.5 for place in (rows, columns)]
    return Found(
        row=at[0] * grey.shape[0] / shape[0],
        column=at[1] * grey.shape[1] / shape[1],
        scale=scale,
        confidence=float(confidences.max()),
        is_inverted=is_inverted,
    )


def scaled_shape(shape: tuple[int, ...], spacing: tuple[float, float]) -> tuple[int, int]:
    """Of a picture at ``PIXEL_MM``."""
    tall, wide = (max(8, round(n * mm / PIXEL_MM)) for n, mm in zip(shape, spacing, strict=True))
    return tall, wide


def scale_channels(channels: Floats, shape: tuple[int, int]) -> Floats:
    """Channels [c,h,w] as [c,*shape]: means over areas."""
    edges = [even_edges(0, n, m) for n, m in zip(channels.shape[1:], shape, strict=True)]
    return np.stack([average(channel, edges[0], edges[1]) for channel in channels])


def _run(channels: Floats, weights: Mapping[str, Floats]) -> Floats:
    """Confidences before the logistic function: [2,h,w] -> [h/2,w/2]."""
    for name, stride, dilation in LAYERS:
        channels = _convolve(
            channels, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, dilation
        )
        np.maximum(channels, 0, out=channels)
    head = weights["head.weight"].reshape(1, -1) @ channels.reshape(len(channels), -1)
    mapped: Floats = (head + weights["head.bias"]).reshape(channels.shape[1:])
    return mapped


def _convolve(channels: Floats, weight: Floats, bias: Floats, stride: int, dilation: int) -> Floats:
    """A 3 x 3 convolution that keeps the size, but for its stride."""
    n, height, width = channels.shape
    padded = np.pad(channels, ((0, 0), (dilation, dilation), (dilation, dilation)))
    rows, columns = -(-height // stride), -(-width // stride)
    views = [
        padded[:, y : y + height : stride, x : x + width : stride]
        for y in (0, dilation, 2 * dilation)
        for x in (0, dilation, 2 * dilation)
    ]
    gathered = np.stack(views).reshape(9 * n, rows * columns)
    kernel = weight.transpose(0, 2, 3, 1).reshape(len(weight), 9 * n)
    return (kernel @ gathered + bias[:, None]).reshape(len(weight), rows, columns)


@cache
def _libraries() -> ThreadpoolController:
    """Of arithmetic, as they are loaded with numpy: finding them takes milliseconds."""
    return ThreadpoolController()


@lru_cache(maxsize=8)
def _weights(file: str) -> Mapping[str, Floats]:
    return load_file(Path(__file__).parent / "landmarks" / file)
