"""Elbow AP, straight: the humerus' lower end with its fossa, the radius' head, the ulna's olecranon.

Positive films have a fracture of the radius' neck or above the joint, or the metal of a repair: plates
and screws, or a wire loop; metal is what a model can read instead of bone. The humerus is measured. x
leads to the body's middle. Imports outlines and scene, and solids of the package above.

Legend: lengths in mm, from the middle of the joint.
"""

from __future__ import annotations

import numpy as np

from server.synthetic.phantoms.outlines import Outline, smooth
from server.synthetic.phantoms.scene import Bone, Break, Scene, SoftTissue, Traits, chain, limb_cm
from server.synthetic.solids import Solid

NECK_SHARE = 0.6  # of these fractures are of the radius' head and neck
HUMERUS = (
    (-9.5, -118.0), (-10.0, -70.0), (-14.0, -42.0), (-24.0, -24.0), (-29.0, -14.0),
        (-25.0, -7.0), (-22.0, -1.0),
    (-14.0, 2.5), (-5.0, -1.0), (2.0, 0.5), (10.0, 4.0), (18.0, 5.0), (23.0, 0.0), (27.0, -7.0),
    (34.0, -16.0), (30.0, -25.0), (17.0, -44.0), (11.0, -70.0), (9.5, -118.0),
)  # fmt: skip
ULNA = (
    (-3.0, -16.0), (1.0, -25.0), (10.0, -27.0), (18.0, -23.0), (21.0, -10.0), (23.0, 4.0),
        (24.0, 12.0), (20.0, 24.0),
    (16.0, 48.0), (13.0, 90.0), (12.0, 130.0), (0.0, 130.0), (1.0, 90.0), (2.0, 48.0),
        (1.0, 24.0), (-1.0, 6.0),
)  # fmt: skip


def draw_scene(traits: Traits, rng: np.random.Generator) -> Scene:
    """An elbow, stretched."""
    of_neck = not traits.has_implant and rng.random() < NECK_SHARE
    fracture = (
        _draw_break(rng, of_neck=of_neck, is_set=traits.has_implant) if traits.is_positive else None
    )
    return Scene(
        bones=(
            _humerus(traits, None if of_neck else fracture),
            _ulna(traits),
            _radius(traits, fracture if of_neck else None),
        ),
        soft_cm=_soft_tissue(traits, rng),
        landmark=(0.0, 0.0),
        metal=_metal(rng) if traits.has_implant else (),
        class_name="abnormal" if traits.is_positive else "normal",
        has_fracture=fracture is not None,
    )


def _humerus(traits: Traits, fracture: Break | None) -> Bone:
    """A flat lower end between two condyles: the fossa is where hardly any bone is left."""
    thick = traits.cortex_ratio
    solids = (
        *chain(((0.0, -118.0), (0.0, -78.0), (0.0, -58.0), (0.0, -42.0), (0.0, -32.0)),
            (10.2, 10.0, 9.2, 6.0, 3.0),
            (3.8 * thick, 3.2 * thick, 2.0 * thick, 1.2 * thick, 0.8 * thick),
            (0.08, 0.15, 0.25, 0.3, 0.3)),
        *chain(((-5.0, -64.0), (-12.5, -44.0), (-19.0, -20.0), (-14.0, -8.0)),
            (5.0, 6.0, 8.5, 10.0), (1.8 * thick, 1.4 * thick, 1.0 * thick, 0.8 * thick),
            (0.3, 0.5, 0.8, 1.0)),
        *chain(((5.0, -66.0), (13.5, -46.0), (21.0, -20.0), (13.0, -5.0)), (5.0, 6.0, 8.0, 9.5),
            (1.8 * thick, 1.4 * thick, 1.0 * thick, 0.8 * thick), (0.3, 0.5, 0.8, 1.0)),
        *chain(((-14.0, -8.0), (13.0, -5.0)), (9.5, 9.0), (0.8 * thick,), (1.0,)),
    )  # fmt: skip
    flat = Outline(smooth(HUMERUS), 7.0, 3.5, 0.9 * thick, 0.3)
    return Bone("humerus", solids=solids, outlines=(flat,), is_measured=True, fracture=fracture)


def _ulna(traits: Traits) -> Bone:
    thick = traits.cortex_ratio
    shaft = chain(((10.0, 26.0), (8.0, 60.0), (6.0, 130.0)), (9.5, 7.0, 6.2),
        (1.6 * thick, 2.6 * thick, 2.9 * thick), (0.5, 0.15, 0.06))  # fmt: skip
    rim = Outline(smooth(ULNA), 13.0, 6.0, 1.0 * thick, 0.7)
    return Bone("ulna", solids=shaft, outlines=(rim,))


def _radius(traits: Traits, fracture: Break | None) -> Bone:
    """A cup on a neck; below it the tuberosity."""
    thick = traits.cortex_ratio
    cup = ((-26.0, 6.5), (-20.0, 7.6), (-14.0, 7.4), (-7.0, 6.0), (-5.5, 11.0), (-8.0, 17.0),
        (-22.0, 17.0), (-26.5, 12.0))  # fmt: skip
    shaft = chain(
        ((-15.5, 15.0), (-14.5, 26.0), (-11.5, 42.0), (-13.0, 65.0), (-16.0, 130.0)),
        (7.6, 6.6, 8.4, 6.6, 6.6),
        (1.0 * thick, 1.6 * thick, 1.6 * thick, 2.6 * thick, 2.9 * thick),
        (0.7, 0.4, 0.4, 0.12, 0.06),
    )
    head = Outline(smooth(cup), 20.0, 6.0, 0.9 * thick, 0.8)
    return Bone("radius", solids=shaft, outlines=(head,), fracture=fracture)


def _draw_break(rng: np.random.Generator, *, of_neck: bool, is_set: bool) -> Break:
    amount = 0.2 if is_set else float(rng.choice((0.3, 1.0), p=(0.5, 0.5)))
    at = (-15.0, float(rng.normal(18.5, 1.0))) if of_neck else (0.0, float(rng.normal(-36.0, 6.0)))
    return Break(
        at=at,
        direction=(1.0, float(rng.normal(0.0, 0.15))),
        turn_degrees=amount * float(rng.normal(0.0, 12.0 if of_neck else 5.0)),
        shift=(amount * float(rng.normal(0.0, 2.0)), amount * float(rng.normal(0.0, 1.0))),
        gap=float(rng.uniform(0.3, 1.1)),
        rough=0.8,
        seed=int(rng.integers(2**31)),
    )


def _metal(rng: np.random.Generator) -> tuple[Solid, ...]:
    """Two plates along the humerus with screws, or two wires and a loop in the olecranon."""
    no = (0.0, 0.0)
    if rng.random() < 0.4:
        loop = (
            (4.0, 40.0),
            (14.0, 20.0),
            (5.0, 0.0),
            (15.0, -18.0),
            (5.0, -18.0),
            (15.0, 0.0),
            (4.0, 20.0),
            (14.0, 40.0),
        )
        wires = [((6.0, -30.0), (7.0, 52.0)), ((14.0, -30.0), (11.0, 52.0))]
        return (
            *chain(loop, (0.6,), (0.0,), (0.0,)),
            *(Solid(a, b, (0.9, 0.9), no, no) for a, b in wires),
        )
    solids = [
        *chain(((-10.0, -95.0), (-13.0, -45.0), (-24.0, -16.0)), (2.6,), (0.0,), (0.0,)),
        *chain(((10.5, -88.0), (14.0, -46.0), (28.0, -18.0)), (2.6,), (0.0,), (0.0,)),
    ]
    for y in (-85.0, -72.0, -60.0):
        solids.append(
            Solid((-11.0, y), (10.0 + float(rng.normal(0, 1.0)), y + 1.0), (1.6, 1.4), no, no)
        )
    solids.append(Solid((-23.0, -14.0), (22.0, -10.0), (1.7, 1.5), no, no))
    return tuple(solids)  # fmt: skip


def _soft_tissue(traits: Traits, rng: np.random.Generator) -> SoftTissue:
    girth = float(np.clip(1.0 + 0.022 * (traits.bmi - 25.0) + rng.normal(0.0, 0.04), 0.8, 1.6))
    no = (0.0, 0.0)
    axis = (
        Solid((0.0, -140.0), (0.0, -40.0), (45.0 * girth, 40.0 * girth), no, no),
        Solid((2.0, -40.0), (1.0, 20.0), (40.0 * girth, 42.0 * girth), no, no),
        Solid((1.0, 20.0), (-3.0, 140.0), (42.0 * girth, 33.0 * girth), no, no),
    )
    return lambda x, y: limb_cm(axis, x, y)
