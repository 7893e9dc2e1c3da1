"""Lateral spine, T11 to L4, with what lies beside them; vertebrae may have lost height to fracture.

Bodies are blocks with concave end plates on a lordotic curve; behind them pedicles, joints and spinous
processes, across them ribs, lung and bowel gas, below them the iliac crest. x leads to the front.
Imports outlines and scene, and solids of the package above.

Legend: lengths in mm; a level's own place is (front, down) from the middle of its body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.synthetic.phantoms.outlines import Outline, smooth, thickness
from server.synthetic.phantoms.scene import Bone, HeightLoss, Scene, SoftTissue, Traits, chain
from server.synthetic.solids import Array, Point, Solid

LEVELS = ("T11", "T12", "L1", "L2", "L3", "L4")  # that are read
CLASSES = ("no_fracture", "mild", "moderate_or_severe")  # grades 0, 1, and 2 to 3
READER_SD = 0.035  # of a height's ratio, as a reader estimates it: an assumption


@dataclass(frozen=True)
class Level:
    """A level: its body's length, height behind, front over back, disc below, width; its lean."""

    length: float
    height: float
    wedge: float
    disc: float
    width: float
    lean: float


# Lengths and heights near those measured on cadavers (Panjabi et al., Spine 1992;17:299), front over
# back near those of healthy women (Black et al., J Bone Miner Res 1991;6:883), both rounded.
SPINE = {
    "T10": Level(28.0, 21.0, 0.95, 4.5, 32.0, 8.0),
    "T11": Level(29.0, 22.0, 0.94, 5.0, 34.0, 10.0),
    "T12": Level(30.0, 23.5, 0.95, 6.0, 37.0, 10.5),
    "L1": Level(31.0, 25.0, 0.96, 7.5, 40.0, 9.0),
    "L2": Level(32.5, 25.5, 0.99, 9.0, 42.0, 5.0),
    "L3": Level(33.5, 26.0, 1.02, 10.0, 44.0, -2.0),
    "L4": Level(34.0, 25.5, 1.05, 10.5, 46.0, -10.0),
    "L5": Level(34.5, 24.0, 1.15, 9.0, 48.0, -21.0),
    "S1": Level(33.0, 27.0, 1.10, 1.0, 50.0, -40.0),
}
WEDGE_SD, CONCAVE = 0.045, 1.1  # of front over back between healthy people; mm of an end plate
# Where fractures are: most at the thoracolumbar junction (Nevitt et al., Bone 1999;25:613).
FRACTURE_SHARES = (0.16, 0.25, 0.25, 0.12, 0.12, 0.10)
KINDS, KIND_SHARES = ("wedge", "biconcave", "crush"), (0.55, 0.33, 0.12)
# A loss begins where it is called one; its excess falls exponentially: mild ones are the commonest.
LEAST_LOSS, MEAN_EXCESS, MOST_LOSS = 0.20, 0.10, 0.60


@dataclass(frozen=True)
class Body:
    """A body as it stands: heights in front, in the middle, behind; its middle; its lean in radians."""

    name: str
    heights: tuple[float, float, float]
    centre: Point
    lean: float

    def place(self, front: float, down: float) -> Point:
        """A place of its own, on the film's."""
        cosine, sine = float(np.cos(self.lean)), float(np.sin(self.lean))
        x, y = self.centre
        return x + cosine * front + sine * down, y - sine * front + cosine * down

    def height(self, share: float) -> float:
        """Height at a share of its length, 0 behind to 1 in front."""
        front, middle, back = self.heights
        return float(
            back + (4 * middle - 3 * back - front) * share + 2 * (front + back - 2 * middle) * share**2
        )


def draw_scene(traits: Traits, rng: np.random.Generator) -> Scene:
    """A spine; of a positive person one vertebra or more has lost height."""
    losses = _draw_losses(rng) if traits.is_positive else ()
    bodies = stack_bodies(losses, rng)
    apparent = _apparent_loss(bodies, rng)
    bones = [*_body_bones(bodies, losses, traits, rng), *_arches(bodies, traits)]
    bones += [_crest(bodies, traits), *_ribs(bodies, traits)]
    if traits.age_years > 60 and rng.random() < 0.35:
        bones += _aorta(bodies, rng)
    return Scene(
        bones=tuple(bones),
        soft_cm=_soft_tissue(traits, rng),
        landmark=next(body.centre for body in bodies if body.name == "L1"),
        class_name=CLASSES[int(np.searchsorted((LEAST_LOSS, 0.25), apparent, side="right"))],
        has_fracture=bool(losses),
        losses=losses,
        least_cm=18.0,
    )


def stack_bodies(losses: tuple[HeightLoss, ...], rng: np.random.Generator) -> tuple[Body, ...]:
    """Bodies from T10 to S1 along the curve, T12's lower plate near the middle of the film."""
    lean_by, curve = rng.normal(0.0, 3.0), rng.normal(1.0, 0.15)
    lost = {loss.level: loss for loss in losses}
    x, y, bodies = -26.0, -128.0, []
    kyphosis = 0.0
    for name, level in SPINE.items():
        lean = np.deg2rad(level.lean * curve + lean_by - kyphosis)
        front, middle, back = _heights(level, lost.get(name), rng)
        half = (front + back) / 4
        x, y = x + float(np.sin(lean)) * half, y + float(np.cos(lean)) * half
        bodies.append(Body(name, (front, middle, back), (x, y), float(lean)))
        # a wedge bends what lies below it
        kyphosis += 0.5 * float(np.rad2deg((back - front) / level.length)) if name in lost else 0.0
        step = half + level.disc * rng.normal(1.0, 0.10)
        x, y = x + float(np.sin(lean)) * step, y + float(np.cos(lean)) * step
    return tuple(bodies)


def _heights(
    level: Level, loss: HeightLoss | None, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Heights in front, in the middle and behind, after the loss."""
    back = level.height * rng.normal(1.0, 0.04)
    front = back * level.wedge * rng.normal(1.0, WEDGE_SD)
    middle = (front + back) / 2 - 2 * CONCAVE * rng.lognormal(0.0, 0.25)
    if loss is None:
        return front, middle, back
    return front * (1 - loss.anterior), middle * (1 - loss.middle), back * (1 - loss.posterior)


def _draw_losses(rng: np.random.Generator) -> tuple[HeightLoss, ...]:
    n_lost = 1 + min(int(rng.geometric(0.72)) - 1, 3)
    levels = rng.choice(len(LEVELS), n_lost, replace=False, p=FRACTURE_SHARES)
    return tuple(_draw_loss(LEVELS[at], rng) for at in sorted(levels))


def _draw_loss(level: str, rng: np.random.Generator) -> HeightLoss:
    most = float(min(LEAST_LOSS + rng.exponential(MEAN_EXCESS), MOST_LOSS))
    kind = rng.choice(KINDS, p=KIND_SHARES)
    if kind == "wedge":
        return HeightLoss(level, most, most * rng.uniform(0.5, 0.8), most * rng.uniform(0.0, 0.2))
    if kind == "biconcave":
        return HeightLoss(level, most * rng.uniform(0.1, 0.4), most, most * rng.uniform(0.0, 0.3))
    return HeightLoss(level, most, most * rng.uniform(0.8, 1.0), most * rng.uniform(0.6, 0.9))


def _apparent_loss(bodies: tuple[Body, ...], rng: np.random.Generator) -> float:
    """The worst loss as a reader sees it, who knows usual ratios but not this person's."""
    worst = 0.0
    for index, body in enumerate(bodies):
        if body.name not in LEVELS:
            continue
        front, middle, back = body.heights
        level = SPINE[body.name]
        neighbour = float(np.mean([bodies[at].heights[2] for at in (index - 1, index + 1)]))
        usual = float(np.mean([SPINE[bodies[at].name].height for at in (index - 1, index + 1)]))
        expected = max(back, level.height * neighbour / usual)
        hollow = 2 * CONCAVE
        ratios = (
            front / (expected * level.wedge),
            middle / (expected * (1 + level.wedge) / 2 - hollow),
            back / expected,
        )
        worst = max(worst, 1 - min(ratios) + float(rng.normal(0.0, READER_SD)))
    return worst


def _body_bones(
    bodies: tuple[Body, ...], losses: tuple[HeightLoss, ...], traits: Traits, rng: np.random.Generator
) -> list[Bone]:
    lost = {loss.level: loss for loss in losses}
    lumbar = ("L1", "L2", "L3", "L4")
    # fractured bodies are left out, unless all are
    measured = [name for name in lumbar if name not in lost] or lumbar
    bones = []
    for body in bodies:
        level = SPINE[body.name]
        loss = lost.get(body.name)
        # bone that gave way lies closer: the same mineral in less height
        denser = 1.0 if loss is None else 1 / (1 - 0.7 * (loss.anterior + loss.middle) / 2)
        rim = body_rim(body, level.length, spur=max(0.0, float(rng.normal(0.4, 0.8))))
        plate = Outline(rim, level.width, 5.5, 0.55 * traits.cortex_ratio, denser)
        bones.append(Bone(body.name, outlines=(plate,), is_measured=body.name in measured))
    return bones


def body_rim(body: Body, length: float, *, spur: float) -> tuple[Point, ...]:
    """The closed rim of a body: two end plates of its heights, hollow walls, rounded corners."""
    shares = (0.04, 0.16, 0.32, 0.5, 0.68, 0.84, 0.96)
    upper, lower = [], []
    for share in shares:
        front, height = (share - 0.5) * length, body.height(share)
        lip = spur * max(0.0, (share - 0.84) / 0.12)
        upper.append(body.place(front + lip, -height / 2))
        lower.append(body.place(front + lip, height / 2))
    waist = [body.place(0.5 * length - 1.4, 0.0)], [body.place(-0.5 * length + 1.2, 0.0)]
    return smooth((*upper, *waist[0], *reversed(lower), *waist[1]))


def _arches(bodies: tuple[Body, ...], traits: Traits) -> list[Bone]:
    """Pedicles, joint processes and spinous processes of each level, as one bone each."""
    bones = []
    for body in bodies[:-1]:
        back = -SPINE[body.name].length / 2
        h = body.heights[2]
        thin = 0.7 * traits.cortex_ratio
        is_lumbar = body.name.startswith("L")
        solids = (
            *_bar(body, ((back + 1, -0.18 * h), (back - 12, -0.14 * h)), (0.23 * h, 0.2 * h), thin),
            *_bar(body, ((back - 13, -0.1 * h), (back - 16, -0.62 * h)), (4.2, 3.6), thin),
            *_bar(body, ((back - 14, 0.0), (back - 21, 0.72 * h)), (4.6, 3.8), thin),
        )
        tip = (back - 47.0, 0.42 * h) if is_lumbar else (back - 42.0, 0.95 * h)
        fin = smooth(
            tuple(
                body.place(*at)
                for at in (
                    (back - 20, -0.05 * h),
                    (tip[0] + 4, tip[1] - 0.34 * h),
                    (tip[0], tip[1] + 0.05 * h),
                    (tip[0] + 4, tip[1] + 0.36 * h),
                    (back - 22, 0.5 * h),
                )
            )
        )
        spinous = Outline(fin, 7.0, 3.0, 0.5 * traits.cortex_ratio, 0.7)
        bones.append(Bone(f"arch {body.name}", solids=solids, outlines=(spinous,)))
    return bones


def _bar(
    body: Body, ends: tuple[Point, Point], radius: tuple[float, float], cortex: float
) -> tuple[Solid, ...]:
    a, b = (body.place(*end) for end in ends)
    return chain((a, b), radius, (cortex,), (0.8,))


def _crest(bodies: tuple[Body, ...], traits: Traits) -> Bone:
    """Both iliac wings, one over the other, across the lowest levels."""
    x, y = bodies[-2].centre
    rim = (
        (-44.0, -8.0),
        (-20.0, -22.0),
        (10.0, -20.0),
        (36.0, 2.0),
        (52.0, 50.0),
        (40.0, 140.0),
        (-60.0, 140.0),
        (-56.0, 40.0),
    )
    return Bone(
        "iliac crest",
        outlines=(
            Outline(
                smooth(tuple((x + a, y + b) for a, b in rim)), 16.0, 7.0, 1.6 * traits.cortex_ratio, 0.6
            ),
        ),
    )


def _ribs(bodies: tuple[Body, ...], traits: Traits) -> list[Bone]:
    """The lowest ribs of both sides, which slope forwards and down."""
    bones = []
    for body, length in zip(bodies[:3], (120.0, 105.0, 55.0), strict=True):
        for side, lag in (("right", 0.0), ("left", 5.0)):
            x, y = body.place(-SPINE[body.name].length / 2 - 6.0, -4.0)
            steps = np.linspace(0.0, 1.0, 7)
            points = tuple(
                (
                    x - 22 * float(np.sin(np.pi * s)) * (1 - s) + length * 0.75 * s - lag,
                    y + 8 + length * 0.55 * s**1.2 + lag,
                )
                for s in steps
            )
            solids = chain(points, (4.6,), (1.0 * traits.cortex_ratio,), (0.5,))
            bones.append(Bone(f"rib {body.name} {side}", solids=solids))
    return bones


def _aorta(bodies: tuple[Body, ...], rng: np.random.Generator) -> list[Bone]:
    """Plaques in the wall of the aorta, which is no bone; now and then there are none."""
    plaques: list[Solid] = []
    for body in bodies[3:7]:
        if rng.random() < 0.7:
            front = SPINE[body.name].length / 2 + rng.uniform(9.0, 13.0)
            low = float(rng.uniform(-8.0, 2.0))
            ends = tuple(
                body.place(front + rng.normal(0, 0.8), low + step * rng.uniform(5.0, 12.0))
                for step in (0, 1)
            )
            plaques += chain(ends, (float(rng.uniform(0.7, 1.4)),), (1.5,), (0.0,))
    return [Bone("aorta", solids=tuple(plaques), is_marked=False)] if plaques else []


def _soft_tissue(traits: Traits, rng: np.random.Generator) -> SoftTissue:
    """The trunk from the side: arms up, lung above the diaphragm, gas in the bowel."""
    thick = float(np.clip(29.0 + 0.6 * (traits.bmi - 25.0) + rng.normal(0.0, 1.2), 22.0, 42.0))
    back = -88.0 - 2.0 * (traits.bmi - 25.0)
    domes = rng.normal((-78.0, -66.0), 9.0)
    gas = tuple(
        Outline(_blob(rng), float(rng.uniform(14.0, 34.0)), float(rng.uniform(7.0, 12.0)))
        for _ in range(int(rng.integers(2, 7)))
    )

    def soft_cm(x: Array, y: Array) -> Array:
        depth = np.clip((x - np.float32(back)) / 70.0, 0, 1)
        tissue: Array = np.float32(thick) * np.sqrt(1 - (1 - depth) ** 2)
        for dome in domes:
            floor = np.float32(dome) + np.square(x - 40.0) * np.float32(0.0022)
            # each lung has 0.26 g/cm³ (ICRU-44) and thins at its base and behind
            air = np.sqrt(np.clip((floor - y) / 60.0, 0, 1)) * np.clip((x - back - 22) / 40.0, 0, 1)
            tissue = tissue - np.float32(0.74 * 6.0) * air
        for bubble in gas:
            tissue = tissue - np.float32(0.1) * thickness(bubble, x, y)
        return tissue

    return soft_cm


def _blob(rng: np.random.Generator) -> tuple[Point, ...]:
    x, y, size = rng.uniform(38.0, 95.0), rng.uniform(-40.0, 140.0), rng.uniform(7.0, 19.0)
    angles = np.linspace(0.0, 2 * np.pi, 10)[:-1]
    radii = size * rng.lognormal(0.0, 0.14, 9)
    return smooth(
        tuple(
            (float(x + r * np.cos(a)), float(y + 0.8 * r * np.sin(a)))
            for r, a in zip(radii, angles, strict=True)
        )
    )
