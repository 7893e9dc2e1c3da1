"""Humerus AP: head and tubercles, shaft, the flare to the elbow, with socket, collarbone and forearm.

Positive films have a fracture of the surgical neck or of the shaft; some of those that were repaired
have a nail. The shaft is measured. x leads to the body's middle. Imports outlines and scene, and solids
of the package above.

Legend: lengths in mm, from the middle of the bone.
"""

from __future__ import annotations

import numpy as np

from server.synthetic.phantoms.outlines import Outline, smooth
from server.synthetic.phantoms.scene import Bone, Break, Scene, SoftTissue, Traits, chain, limb_cm
from server.synthetic.solids import Array, Solid

NECK_SHARE = 0.6  # of these fractures are at the upper end: Court-Brown and Caesar, Injury 2006;37:691
LOWER_END = (
    (-8.0, 106.0), (-11.5, 118.0), (-17.0, 134.0), (-22.0, 148.0), (-18.0, 158.0), (-10.0, 164.0),
    (0.0, 159.0), (10.0, 166.0), (20.0, 162.0), (27.0, 150.0), (19.0, 138.0), (12.0, 118.0),
        (8.0, 106.0),
)  # fmt: skip
GLENOID = (
    (36.0, -152.0), (40.0, -136.0), (38.0, -116.0), (52.0, -104.0), (78.0, -60.0), (98.0, -60.0),
    (98.0, -150.0), (60.0, -150.0),
)  # fmt: skip


def draw_scene(traits: Traits, rng: np.random.Generator) -> Scene:
    """An upper arm, hanging."""
    fracture = _draw_break(rng) if traits.is_positive and not traits.has_implant else None
    healed = _draw_break(rng, is_set=True) if traits.has_implant else fracture
    return Scene(
        bones=(_humerus(traits, healed), *_neighbours(traits)),
        soft_cm=_soft_tissue(traits, rng),
        landmark=(0.0, -20.0),
        metal=_nail(rng) if traits.has_implant else (),
        class_name="abnormal" if traits.is_positive else "normal",
        has_fracture=healed is not None,
    )


def _humerus(traits: Traits, fracture: Break | None) -> Bone:
    thick = traits.cortex_ratio
    solids = (
        Solid((13.0, -138.0), (13.0, -138.0), (22.5, 22.5), (0.8 * thick,) * 2, (1.0, 1.0)),
        Solid((-8.0, -142.0), (-10.0, -128.0), (10.0, 12.0), (0.8 * thick,) * 2, (0.6, 0.6)),
        Solid((6.0, -134.0), (0.0, -98.0), (20.0, 14.0), (0.9 * thick, 1.8 * thick), (0.8, 0.35)),
        *chain(
            ((0.0, -98.0), (-1.0, -60.0), (0.0, 0.0), (0.0, 60.0), (0.0, 112.0), (0.0, 136.0)),
            (13.6, 11.8, 11.2, 10.4, 10.2, 5.0),
            (1.8 * thick, 3.6 * thick, 4.3 * thick, 4.2 * thick, 2.6 * thick, 1.2 * thick),
            (0.35, 0.12, 0.06, 0.08, 0.25, 0.4),
        ),
    )
    lower = Outline(smooth(LOWER_END), 19.0, 7.5, 1.8 * thick, 0.6)
    return Bone("humerus", solids=solids, outlines=(lower,), is_measured=True, fracture=fracture)


def _draw_break(rng: np.random.Generator, *, is_set: bool = False) -> Break:
    """Across the neck or obliquely through the shaft; little is out of place once it is set."""
    is_neck = rng.random() < NECK_SHARE
    at = (2.0, float(rng.normal(-106.0, 3.0))) if is_neck else (0.0, float(rng.uniform(-50.0, 70.0)))
    slope = float(rng.normal(0.15 if is_neck else 0.0, 0.2 if is_neck else 0.6))
    amount = 0.25 if is_set else float(rng.choice((0.3, 1.0), p=(0.4, 0.6)))
    return Break(
        at=at,
        direction=(1.0, slope),
        turn_degrees=amount * float(rng.normal(0.0, 11.0 if is_neck else 2.5)),
        shift=(amount * float(rng.normal(0.0, 4.5)), amount * float(rng.normal(0.0, 2.0))),
        gap=float(rng.uniform(0.5, 1.6)),
        rough=1.0,
        seed=int(rng.integers(2**31)),
    )


def _nail(rng: np.random.Generator) -> tuple[Solid, ...]:
    """A nail in the marrow from the head down, with its locking screws."""
    low = float(rng.uniform(70.0, 105.0))
    nail = chain(((6.0, -156.0), (0.0, -96.0), (0.0, low)), (4.6, 4.2, 4.0), (0.0,), (0.0,))
    screws = [((-18.0, -132.0), (30.0, -142.0)), ((-16.0, -118.0), (26.0, -128.0))]
    screws.append(((-13.0, low - 9.0), (14.0, low - 9.0)))
    return (*nail, *(Solid(a, b, (2.3, 2.0), (0.0, 0.0), (0.0, 0.0)) for a, b in screws))


def _neighbours(traits: Traits) -> tuple[Bone, ...]:
    """Socket, acromion, collarbone, and the upper ends of the forearm."""
    thick = traits.cortex_ratio
    return (
        Bone("scapula", outlines=(Outline(smooth(GLENOID), 9.0, 5.0, 1.0 * thick, 0.35),)),
        Bone("acromion", solids=chain(((-22.0, -170.0), (4.0, -176.0), (40.0, -168.0)),
            (6.0, 7.0, 5.0), (1.2 * thick,), (0.4,))),
        Bone("clavicle", solids=chain(((12.0, -180.0), (48.0, -182.0), (100.0, -172.0)),
            (7.0, 6.0, 6.5), (2.0 * thick,), (0.3,))),
        Bone("radius", solids=chain(((-13.0, 168.0), (-11.0, 182.0), (-12.0, 230.0)),
            (10.5, 7.0, 7.0), (1.2 * thick, 2.2 * thick, 2.6 * thick), (0.6, 0.3, 0.1))),
        Bone("ulna", solids=chain(((9.0, 150.0), (9.0, 178.0), (4.0, 230.0)), (10.0, 11.0, 7.0),
            (1.4 * thick, 1.6 * thick, 2.6 * thick), (0.6, 0.5, 0.1))),
    )  # fmt: skip


def _soft_tissue(traits: Traits, rng: np.random.Generator) -> SoftTissue:
    arm = float(np.clip(44.0 + 1.3 * (traits.bmi - 25.0) + rng.normal(0.0, 2.0), 32.0, 70.0))
    axis = (
        Solid((8.0, -150.0), (-4.0, -60.0), (1.25 * arm, 1.1 * arm), (0.0, 0.0), (0.0, 0.0)),
        Solid((-4.0, -60.0), (0.0, 150.0), (1.1 * arm, 0.86 * arm), (0.0, 0.0), (0.0, 0.0)),
        Solid((0.0, 150.0), (-2.0, 230.0), (0.86 * arm, 0.82 * arm), (0.0, 0.0), (0.0, 0.0)),
        Solid((90.0, -150.0), (160.0, -120.0), (60.0, 80.0), (0.0, 0.0), (0.0, 0.0)),
    )
    return lambda x, y: limb_cm(axis, x, y) + _chest_wall(x, y)


def _chest_wall(x: Array, y: Array) -> Array:
    """The trunk beside the arm."""
    beside: Array = (
        4.0 * np.sqrt(np.clip((x - 78.0 - 0.02 * y) / 60.0, 0, 1)) * np.clip((190.0 - y) / 200.0, 0, 1)
    )
    return beside
