"""Wrist PA, fingers up: radius and ulna, eight carpal bones, the five metacarpals.

Positive films have a fracture of the radius near its end, tilted and shortened (Colles), or of the
scaphoid's waist; some that were repaired have a plate. The radius is measured. x leads to the little
finger. Imports outlines and scene, and solids of the package above.

Legend: lengths in mm, from the middle of the joint between radius and lunate.
"""

from __future__ import annotations

import numpy as np

from server.synthetic.phantoms.outlines import Outline, smooth
from server.synthetic.phantoms.scene import Bone, Break, Scene, SoftTissue, Traits, chain, limb_cm
from server.synthetic.solids import Point, Solid

RADIUS_SHARE = 0.85  # of these fractures: the others are of the scaphoid
RADIUS = (
    (-20.5, -6.0), (-13.0, 0.0), (-4.0, 2.5), (5.0, 2.0), (9.5, 4.5), (9.0, 14.0), (3.5, 32.0),
    (1.0, 46.0), (-4.0, 50.0), (-10.0, 50.0), (-16.0, 46.0), (-18.5, 30.0), (-22.5, 10.0),
)  # fmt: skip
ULNA = (
    (13.0, 8.0), (17.0, 4.5), (23.5, 4.0), (26.0, -1.0), (28.0, 6.0), (27.0, 14.0), (24.8, 28.0),
    (22.0, 34.0), (16.0, 34.0), (13.0, 28.0), (12.5, 16.0),
)  # fmt: skip
CARPALS = {
    "scaphoid": ((-17.0, -8.0), (-11.0, -4.0), (-6.0, -6.0), (-6.0, -12.0), (-11.0, -16.0),
        (-15.0, -23.0), (-21.0, -22.0), (-21.0, -13.0)),
    "lunate": ((-5.0, -3.0), (3.0, -1.0), (8.0, -4.0), (7.0, -11.0), (1.0, -14.0), (-5.0, -11.0)),
    "triquetrum": ((9.0, -6.0), (16.0, -5.0), (20.0, -10.0), (17.0, -16.0), (10.0, -15.0)),
    "pisiform": ((13.0, -10.0), (18.0, -9.0), (19.5, -13.5), (16.0, -17.0), (12.0, -15.0)),
    "trapezium": ((-23.0, -24.0), (-16.0, -25.0), (-14.0, -31.0), (-18.0, -37.0), (-26.0, -34.0),
        (-27.0, -28.0)),
    "trapezoid": ((-14.0, -25.0), (-8.0, -26.0), (-7.0, -33.0), (-11.0, -37.0), (-15.0, -33.0)),
    "capitate": ((-4.0, -14.0), (2.0, -16.0), (5.0, -22.0), (4.0, -36.0), (-5.0, -37.0),
        (-7.0, -28.0), (-7.0, -19.0)),
    "hamate": ((7.0, -17.0), (14.0, -18.0), (19.0, -28.0), (18.0, -36.0), (7.0, -36.0), (5.5, -25.0)),
}  # fmt: skip
DEPTHS = dict(zip(CARPALS, (15.0, 16.0, 13.0, 10.0, 14.0, 13.0, 19.0, 17.0), strict=True))
# Base and head of each metacarpal, from the thumb, and half its width in the shaft.
METACARPALS: tuple[tuple[Point, Point, float], ...] = (
    ((-27.0, -38.0), (-48.0, -74.0), 5.4),
    ((-12.0, -41.0), (-21.0, -104.0), 4.4),
    ((-1.0, -41.0), (-2.0, -102.0), 4.3),
    ((9.0, -40.0), (14.0, -95.0), 3.7),
    ((17.0, -39.0), (29.0, -87.0), 3.7),
)


def draw_scene(traits: Traits, rng: np.random.Generator) -> Scene:
    """A wrist, flat on the plate."""
    of_radius = traits.has_implant or rng.random() < RADIUS_SHARE
    fracture = None
    if traits.is_positive:
        fracture = _colles(rng, is_set=traits.has_implant) if of_radius else _waist(rng)
    return Scene(
        bones=(
            *_forearm(traits, fracture if of_radius else None),
            *_carpals(traits, rng, None if of_radius else fracture),
            *_metacarpals(traits),
        ),
        soft_cm=_soft_tissue(traits, rng),
        landmark=(0.0, 0.0),
        metal=_plate(rng) if traits.has_implant else (),
        class_name="abnormal" if traits.is_positive else "normal",
        has_fracture=fracture is not None,
    )


def _forearm(traits: Traits, fracture: Break | None) -> tuple[Bone, ...]:
    """Ends with a thin cortex, shafts with a thick one."""
    thick = traits.cortex_ratio
    radius = Bone(
        "radius",
        solids=chain(((-7.2, 34.0), (-7.3, 52.0), (-7.3, 75.0), (-7.0, 140.0)),
            (10.4, 8.4, 7.2, 6.6), (1.0 * thick, 1.7 * thick, 2.6 * thick, 3.0 * thick),
            (0.5, 0.25, 0.1, 0.05)),
        outlines=(Outline(smooth(RADIUS), 14.0, 6.0, 0.75 * thick, 0.75),),
        is_measured=True,
        fracture=fracture,
    )  # fmt: skip
    ulna = Bone(
        "ulna",
        solids=chain(((19.0, 20.0), (18.3, 50.0), (20.0, 140.0)), (6.6, 5.9, 6.4),
            (0.9 * thick, 2.0 * thick, 2.7 * thick), (0.6, 0.12, 0.05)),
        outlines=(Outline(smooth(ULNA), 12.0, 5.5, 0.7 * thick, 0.7),),
    )  # fmt: skip
    return radius, ulna


def _carpals(traits: Traits, rng: np.random.Generator, fracture: Break | None) -> list[Bone]:
    bones = []
    for name, rim in CARPALS.items():
        away = rng.normal(0.0, 0.35, 2)
        middle = np.mean(rim, axis=0)
        placed = tuple(
            (
                float(1.07 * (x - middle[0]) + middle[0] + away[0]),
                float(1.07 * (y - middle[1]) + middle[1] + away[1]),
            )
            for x, y in rim
        )
        body = Outline(smooth(placed), DEPTHS[name], 4.5, 0.6 * traits.cortex_ratio, 1.0)
        bones.append(Bone(name, outlines=(body,), fracture=fracture if name == "scaphoid" else None))
    return bones


def _metacarpals(traits: Traits) -> list[Bone]:
    """Broad at base and head, with a waist, and the first bone of each finger."""
    bones = []
    thick = traits.cortex_ratio
    for number, (base, head, half) in enumerate(METACARPALS, start=1):
        points = tuple(
            (base[0] + s * (head[0] - base[0]), base[1] + s * (head[1] - base[1]))
            for s in (0.06, 0.25, 0.5, 0.75, 0.93)
        )
        radius = (1.5 * half, 1.1 * half, 0.95 * half, 1.1 * half, 1.6 * half)
        cortex = (0.7 * thick, 1.6 * thick, 2.1 * thick, 1.5 * thick, 0.6 * thick)
        bones.append(
            Bone(
                f"metacarpal {number}", solids=chain(points, radius, cortex, (0.9, 0.3, 0.1, 0.3, 0.8))
            )
        )
        dx, dy = np.subtract(head, base) / np.hypot(*np.subtract(head, base))
        tip = tuple((head[0] + d * float(dx), head[1] + d * float(dy)) for d in (9.0, 20.0, 40.0))
        bones.append(
            Bone(
                f"finger {number}",
                solids=chain(
                    tip,
                    (1.45 * half, 1.0 * half, 1.1 * half),
                    (0.7 * thick, 1.5 * thick, 1.4 * thick),
                    (0.6, 0.2, 0.3),
                ),
            )
        )
    return bones  # fmt: skip


def _colles(rng: np.random.Generator, *, is_set: bool) -> Break:
    """Across the radius two centimetres from its end: the shaft is driven up beside the tilted end."""
    amount = 0.2 if is_set else float(rng.choice((0.3, 1.0), p=(0.45, 0.55)))
    return Break(
        at=(-6.0, float(rng.normal(19.0, 3.0))),
        direction=(-1.0, float(rng.normal(0.0, 0.12))),
        turn_degrees=amount * float(rng.normal(-9.0, 4.0)),
        shift=(amount * float(rng.normal(2.5, 1.2)), -amount * float(rng.uniform(0.5, 4.5))),
        gap=float(rng.uniform(0.2, 0.9)),
        rough=0.9,
        seed=int(rng.integers(2**31)),
    )


def _waist(rng: np.random.Generator) -> Break:
    """A thin line through the middle of the scaphoid, hardly out of place."""
    return Break((-13.5, -13.5), (1.0, 0.75), float(rng.normal(0.0, 2.0)),
        (float(rng.normal(0.0, 0.4)), 0.2), float(rng.uniform(0.4, 0.9)),
        0.5, int(rng.integers(2**31)))  # fmt: skip


def _plate(rng: np.random.Generator) -> tuple[Solid, ...]:
    """A plate on the front of the radius with screws along it."""
    tilt = float(rng.normal(0.0, 1.0))
    solids = list(chain(((-7.0 + tilt, 62.0), (-7.5, 24.0)), (3.4,), (0.0,), (0.0,)))
    solids += chain(((-15.5, 9.0), (1.5, 10.0)), (3.2,), (0.0,), (0.0,))
    solids += chain(((-7.5, 24.0), (-7.5, 10.0)), (4.6, 5.0), (0.0,), (0.0,))
    for x in (-15.0, -9.0, -3.0, 2.0):
        solids.append(
            Solid((x, 8.0), (x + float(rng.normal(0, 1.0)), 4.0), (1.4, 1.2), (0.0, 0.0), (0.0, 0.0))
        )
    for y in (34.0, 44.0, 54.0):
        solids.append(Solid((-7.2, y), (-7.2, y + 0.5), (2.3, 2.3), (0.0, 0.0), (0.0, 0.0)))
    return tuple(solids)


def _soft_tissue(traits: Traits, rng: np.random.Generator) -> SoftTissue:
    girth = float(np.clip(1.0 + 0.014 * (traits.bmi - 25.0) + rng.normal(0.0, 0.03), 0.85, 1.4))
    no = (0.0, 0.0)
    axis = [
        Solid((x, 10.0), (x * 1.15, 140.0), (22.0 * girth, 27.0 * girth), no, no)
        for x in (-8.0, 4.0, 16.0)
    ]
    axis += [
        Solid((0.6 * base[0], 10.0), head, (19.0 * girth, 14.0 * girth), no, no)
        for base, head, _ in METACARPALS
    ]
    axis += [
        Solid(
            head,
            (2.0 * head[0] - base[0], 2.0 * head[1] - base[1]),
            (12.5 * girth, 9.5 * girth),
            no,
            no,
        )
        for base, head, _ in METACARPALS
    ]
    return lambda x, y: limb_cm(tuple(axis), x, y)
