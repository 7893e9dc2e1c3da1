"""The hip and what lies around it: femur, pelvis, sacrum, the other hip, the body's outline.

Owns the anatomy, in a right hip's frame: millimetres, x to the middle of the body, y to the feet,
the usual centre of the femoral neck near (4, −8). A femur is a union of hollow tapered solids (head,
neck, trochanters, shaft). What a film sees of it is ``physics``. Imports solids of this package.

Legend: h w pixels; lengths in mm unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from server.synthetic.solids import Array, Frame, Point, Solid

Side = Literal["left", "right"]

MIDLINE = 112.0  # x of the body's middle: heads are about 180 mm apart
TROCHANTER = -45.0  # x of the bone's outer edge


@dataclass(frozen=True)
class HipAnatomy:
    """One hip: what the film can show.

    ``trabecular_share`` is the mineralised share of the marrow space (BV/TV); ``cortical_mm`` the
    cortex of the femoral neck; ``texture_exponent`` the slope of the trabecular power spectrum
    (higher in healthy bone: Benhamou et al., J Bone Miner Res 2001;16:697).
    """

    side: Side
    cortical_mm: float
    trabecular_share: float
    texture_exponent: float
    texture_contrast: float
    shaft_cortex_ratio: float
    pelvis_share: float
    scale: float
    neck_shaft_degrees: float
    soft_tissue_cm: float


@dataclass(frozen=True)
class Femur:
    """The solids of one femur, and the middle of its neck's axis."""

    solids: tuple[Solid, ...]
    neck: Point


def soft_tissue_cm(bmi: float, rng: np.random.Generator) -> float:
    """AP thickness over the hip: 17 cm at BMI 25, 0.55 cm per kg/m², SD 1.2 cm between people."""
    return float(np.clip(17.0 + 0.55 * (bmi - 25.0) + rng.normal(0.0, 1.2), 9.0, 34.0))


def pose_femur(anatomy: HipAnatomy, rng: np.random.Generator) -> Femur:
    """Head, neck, trochanters and a shaft down to the knee; the leg's rotation is drawn."""
    angle = np.deg2rad(anatomy.neck_shaft_degrees)
    # rotation of the leg foreshortens the neck on the film
    length = 46.0 * np.cos(np.deg2rad(rng.normal(0.0, 15.0)))
    base = (-14.0, 6.0)
    head = (base[0] + length * float(np.sin(angle)), base[1] + length * float(np.cos(angle)))
    cortex, filling = anatomy.cortical_mm, anatomy.trabecular_share
    shaft_cortex = cortex * anatomy.shaft_cortex_ratio
    solids = (
        Solid(head, head, (23.5, 23.5), (0.5 * cortex, 0.5 * cortex), (1.25 * filling,) * 2),
        Solid(base, head, (19.0, 16.0), (1.2 * cortex, cortex), (0.8 * filling, filling)),
        Solid(
            (base[0] - 3.0, base[1]),
            (base[0] - 13.0, base[1] - 21.0),
            (16.0, 10.0),
            (0.7 * cortex, 0.5 * cortex),
            (0.7 * filling, 0.7 * filling),
        ),
        Solid(
            (base[0] + 10.0, base[1] + 30.0),
            (base[0] + 13.0, base[1] + 34.0),
            (9.0, 7.0),
            (0.8 * cortex, 0.8 * cortex),
            (0.6 * filling, 0.6 * filling),
        ),
        Solid(
            base,
            (base[0] + 3.0, base[1] + 130.0),
            (20.0, 13.0),
            (1.2 * cortex, 2.0 * shaft_cortex),
            (0.8 * filling, 0.1 * filling),
        ),
        Solid(
            (base[0] + 3.0, base[1] + 130.0),
            (base[0] + 24.0, base[1] + 420.0),
            (13.0, 16.0),
            (2.0 * shaft_cortex, shaft_cortex),
            (0.1 * filling, 0.2 * filling),
        ),
    )
    return Femur(solids, neck=((base[0] + head[0]) / 2, (base[1] + head[1]) / 2))


def other_side(frame: Frame, turn_degrees: float) -> Frame:
    """The frame of the other hip: mirrored at the midline, its leg turned about the head's centre."""
    mirrored = frame.then(np.diag([-1.0, 1.0]), about=(MIDLINE, 0.0))
    turn = np.deg2rad(turn_degrees)
    cosine, sine = np.cos(turn), np.sin(turn)
    return mirrored.then(np.array([[cosine, -sine], [sine, cosine]]), about=(22.0, -22.0))


def half_pelvis(anatomy: HipAnatomy) -> tuple[Solid, ...]:
    """Pubis and ischium of one side, around the obturator foramen."""
    filling = (1.1 * anatomy.pelvis_share,) * 2
    cortex = (0.5 * anatomy.cortical_mm,) * 2
    return (
        Solid((36.0, -14.0), (104.0, 20.0), (12.0, 9.0), cortex, filling),
        Solid((104.0, 20.0), (105.0, 42.0), (6.0, 6.0), cortex, filling),
        Solid((38.0, 2.0), (58.0, 58.0), (13.0, 14.0), cortex, filling),
        Solid((58.0, 60.0), (103.0, 42.0), (9.0, 6.0), cortex, filling),
    )


def spine(anatomy: HipAnatomy) -> tuple[Solid, ...]:
    """Sacrum and the two lowest vertebrae."""
    filling = (0.5 * anatomy.pelvis_share,) * 2
    cortex = (0.4 * anatomy.cortical_mm,) * 2
    middle = MIDLINE
    return (
        Solid((middle, -112.0), (middle, -28.0), (44.0, 10.0), cortex, filling),
        Solid((middle - 11.0, -172.0), (middle + 11.0, -172.0), (17.0, 17.0), cortex, filling),
        Solid((middle - 11.0, -212.0), (middle + 11.0, -212.0), (17.0, 17.0), cortex, filling),
    )


def sockets(anatomy: HipAnatomy, x: Array, y: Array) -> Array:
    """Acetabula behind the heads [h,w] in g/cm²: rings open towards the femora."""
    # a socket surrounds the usual head centre, on its medial and upper side
    dx, dy = _folded(x) - np.float32(21.0), y + np.float32(21.0)
    distance = np.sqrt(dx * dx + dy * dy)
    wall: Array = np.clip((distance - 26) * np.float32(0.25), 0, 1)
    wall *= np.clip((dx - dy - 14) * np.float32(0.04), 0, 1)
    wall *= np.float32(1.6 * anatomy.pelvis_share)
    return wall


def wings(anatomy: HipAnatomy, x: Array, y: Array) -> Array:
    """Iliac wings above the sockets [h,w] in g/cm²: thin plates with a denser crest."""
    cosine, sine = np.float32(np.cos(0.42)), np.float32(np.sin(0.42))
    dx, dy = _folded(x) - np.float32(34.0), y + np.float32(106.0)
    along, across = (cosine * dy - sine * dx) / 78, (cosine * dx + sine * dy) / 56
    distance = np.sqrt(along * along + across * across)
    plate: Array = np.clip((1 - distance) * 12, 0, 1) * (np.float32(1.7) - np.clip(distance, 0, 1))
    plate += np.maximum(1 - np.square((distance - np.float32(0.94)) * np.float32(14)), 0)
    plate *= np.float32(2.0 * anatomy.pelvis_share)
    return plate


def body_outline(anatomy: HipAnatomy, x: Array, y: Array) -> Array:
    """AP thickness of trunk and thighs [h,w], as a share of that over the hip; 0 beside the body."""
    beside = np.abs(x - np.float32(MIDLINE))  # of either side
    fat = 15.0 + 3.5 * (anatomy.soft_tissue_cm - 9.0)
    skin = MIDLINE - TROCHANTER + fat
    trunk = _cylinder(beside, 0.0, skin)
    inner = 5.0
    narrowing = np.float32(1.0) - np.float32(0.0006) * np.maximum(y - 50, 0)
    thigh = _cylinder(beside, (skin + inner) / 2, narrowing * np.float32((skin - inner) / 2))
    below: Array = np.clip((y - np.float32(30.0)) / 80, 0, 1)
    hip = np.float32(MIDLINE - 4.0)
    outline: Array = trunk * ((1 - below) / _cylinder(hip, 0.0, skin))
    outline += thigh * (below / _cylinder(hip, (skin + inner) / 2, (skin - inner) / 2))
    return outline


def _folded(x: Array) -> Array:
    """x of the nearer hip's frame."""
    return np.asarray(np.float32(MIDLINE) - np.abs(x - np.float32(MIDLINE)))


def _cylinder(x: Array | np.float32, centre: float, half_width: Array | float) -> Array:
    """Thickness of a lying elliptic cylinder, 1 in its middle."""
    share = (x - np.float32(centre)) / half_width
    return np.asarray(np.sqrt(np.maximum(1 - share * share, 0)), np.float32)
