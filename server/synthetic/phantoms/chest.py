"""Chest PA: lungs, heart and vessels between the ribs, with clavicles, shoulder blades and the spine.

Lungs are bodies of air in the trunk that heart and mediastinum push aside; vessels are trees of tissue
in them. Ribs are rings that slope forwards, so that a film shows their back and their front part. The
spine is measured. x leads to the patient's left. Imports outlines and scene, and solids of the package
above.

Legend: lengths in mm, from the carina.
"""

from __future__ import annotations

import numpy as np

from server.synthetic.phantoms.outlines import Outline, Spans, smooth, thickness
from server.synthetic.phantoms.scene import Bone, Scene, SoftTissue, Traits, chain
from server.synthetic.solids import Array, Point, Solid

LUNG_AIR = 0.74  # lung has 0.26 g/cm³ (ICRU-44)
VERTEBRAE = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12", "L1")
RIB_WIDTHS = (64.0, 96.0, 105.0, 112.0, 117.0, 120.0, 123.0, 125.0, 126.0, 126.0)
RIB_DROPS = (26.0, 34.0, 40.0, 44.0, 48.0, 51.0, 54.0, 56.0, 57.0, 54.0)  # from the back to the side
RIB_ENDS = (150.0, 150.0, 149.0, 148.0, 146.0, 142.0, 136.0, 128.0, 118.0, 104.0)  # degrees of the ring
RIGHT_LUNG = (
    (-40.0, -152.0), (-70.0, -138.0), (-96.0, -98.0), (-114.0, -40.0), (-123.0, 25.0), (-127.0, 90.0),
    (-126.0, 124.0), (-112.0, 104.0), (-84.0, 84.0), (-52.0, 82.0), (-24.0, 98.0), (-14.0, 60.0),
    (-12.0, 0.0), (-12.0, -60.0), (-16.0, -120.0),
)  # fmt: skip
LEFT_LUNG = (
    (40.0, -152.0), (70.0, -138.0), (96.0, -98.0), (114.0, -40.0), (122.0, 25.0), (126.0, 95.0),
    (125.0, 130.0), (112.0, 112.0), (88.0, 96.0), (56.0, 94.0), (26.0, 104.0), (14.0, 60.0),
    (12.0, 0.0), (12.0, -60.0), (16.0, -120.0),
)  # fmt: skip
HEART = (
    (-30.0, -8.0), (-40.0, 22.0), (-43.0, 52.0), (-38.0, 86.0), (-14.0, 112.0), (36.0, 116.0),
    (76.0, 100.0), (84.0, 82.0), (70.0, 46.0), (48.0, 8.0), (38.0, -18.0), (34.0, -40.0), (0.0, -50.0),
)  # fmt: skip
MEDIASTINUM = (
    (-22.0, -150.0), (-25.0, -100.0), (-27.0, -50.0), (-30.0, 0.0), (-20.0, 60.0), (16.0, 110.0),
    (26.0, 40.0), (36.0, -34.0), (28.0, -52.0), (36.0, -70.0), (34.0, -88.0), (24.0, -100.0),
    (22.0, -150.0),
)  # fmt: skip


def draw_scene(traits: Traits, rng: np.random.Generator) -> Scene:
    """A chest in good inspiration."""
    breath = float(rng.normal(1.0, 0.05))
    bones = [*_vertebrae(traits, rng), *_ribs(traits, breath, rng)]
    for sign, side in ((-1.0, "right"), (1.0, "left")):
        bones += _shoulder(sign, side, traits, rng)
    return Scene(
        bones=tuple(bones),
        soft_cm=_soft_tissue(traits, breath, rng),
        landmark=(0.0, 0.0),
        least_cm=6.0,
    )


def _level(index: int) -> float:
    """How far below the carina the middle of a vertebra lies: T1 to L1 at growing distances."""
    return -150.0 + 19.0 * index + 0.35 * index**2


def _vertebrae(traits: Traits, rng: np.random.Generator) -> list[Bone]:
    """Bodies with pedicles' rings, transverse and spinous processes."""
    bones = []
    bend, phase = rng.normal(0.0, 2.5), rng.uniform(0.0, np.pi)
    for index, name in enumerate(VERTEBRAE):
        y = _level(index)
        x = float(bend * np.sin(phase + y / 90.0))
        half, tall = 13.5 + 0.65 * index, 8.4 + 0.28 * index
        rim = (
            (-half, -tall),
            (0.0, -tall + 1.0),
            (half, -tall),
            (half - 2.2, 0.0),
            (half, tall),
            (0.0, tall - 1.0),
            (-half, tall),
            (-half + 2.2, 0.0),
        )
        cortex = 0.75 * traits.cortex_ratio
        body = Outline(smooth(_moved(rim, x, y)), 24.0 + 0.7 * index, 4.5, cortex)
        solids: list[Solid] = []
        wings: list[Solid] = []
        for sign in (-1.0, 1.0):
            at = (x + sign * (half - 4.5), y - 2.5)
            solids += [Solid(at, (at[0], at[1] + 2.5), (4.4, 4.0), (1.3 * cortex,) * 2, (0.6, 0.6))]
            tip = (x + sign * (half + 13.0), y - 3.0)
            wings += chain((at, tip), (4.6, 3.6), (cortex,), (0.5,))
        tip = (x + float(rng.normal(0.0, 0.8)), y + 13.0)
        solids += chain(((x, y + 2.0), tip), (4.0, 3.4), (1.2 * cortex,), (0.9,))
        # a densitometer measures body and arch, and leaves out the transverse processes
        bones += [
            Bone(name, outlines=(body,), is_measured=True),
            Bone(f"arch {name}", solids=tuple(solids), is_measured=True),
            Bone(f"processes {name}", solids=tuple(wings)),
        ]
    return bones


def _ribs(traits: Traits, breath: float, rng: np.random.Generator) -> list[Bone]:
    """Ten pairs, each of two bodies: a film sees the back part through the front part."""
    bones = []
    for index, (width, drop, end) in enumerate(zip(RIB_WIDTHS, RIB_DROPS, RIB_ENDS, strict=True)):
        for sign, side in ((-1.0, "right"), (1.0, "left")):
            lift = float(rng.normal(0.0, 1.5))
            for part, first, last in (("back", 8.0, 88.0), ("front", 88.0, end)):
                angles = np.deg2rad(np.linspace(first, last, 15))
                x = sign * width * breath * np.sin(angles)
                y = _level(index) - 4.0 + lift + drop * (1 - np.cos(angles)) - 5.0 * np.sin(2 * angles)
                points = tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))
                radius = (4.7,) if part == "back" else (5.3,)
                cortex = (1.1 * traits.cortex_ratio,)
                name = f"rib {index + 1} {side} {part}"
                bones.append(Bone(name, solids=chain(points, radius, cortex, (0.7,))))
    return bones


def _shoulder(sign: float, side: str, traits: Traits, rng: np.random.Generator) -> list[Bone]:
    """Clavicle, shoulder blade and head of the humerus of one side."""
    tilt = float(rng.normal(0.0, 5.0))
    thick = traits.cortex_ratio

    def on_side(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple((sign * x, y + tilt * x / 120.0) for x, y in points)

    clavicle = (
        (15.0, -116.0),
        (32.0, -122.0),
        (60.0, -128.0),
        (92.0, -138.0),
        (122.0, -146.0),
        (142.0, -142.0),
    )
    blade = (
        (104.0, -120.0),
        (118.0, -70.0),
        (134.0, -10.0),
        (142.0, 4.0),
        (150.0, -30.0),
        (154.0, -90.0),
        (146.0, -128.0),
    )
    head = (sign * 166.0, -122.0 + tilt)
    return [
        Bone(
            f"clavicle {side}",
            solids=chain(on_side(clavicle), (7.5, 6.0, 5.5, 5.5, 6.5, 6.5), (2.0 * thick,), (0.5,)),
        ),
        Bone(
            f"scapula {side}",
            solids=chain(
                on_side(((154.0, -90.0), (149.0, -40.0), (142.0, 2.0))),
                (4.0, 3.0, 3.0),
                (1.3 * thick,),
                (0.3,),
            ),
            outlines=(Outline(smooth(on_side(blade)), 4.0, 2.5, 0.8 * thick, 0.3),),
        ),
        Bone(
            f"humerus {side}",
            solids=(
                Solid(head, head, (23.0, 23.0), (1.2 * thick,) * 2, (0.35, 0.35)),
                Solid(
                    (sign * 172.0, -112.0),
                    (sign * 190.0, 10.0),
                    (18.0, 12.0),
                    (1.5 * thick, 4.0 * thick),
                    (0.5, 0.1),
                ),
            ),
        ),
    ]


def _soft_tissue(traits: Traits, breath: float, rng: np.random.Generator) -> SoftTissue:
    """The trunk with its two lungs, and what is not air in them."""
    trunk_cm = float(np.clip(21.5 + 0.5 * (traits.bmi - 25.0) + rng.normal(0.0, 1.0), 16.0, 34.0))
    half_width = 158.0 + 2.6 * (traits.bmi - 25.0)
    lungs = [_scaled(points, breath) for points in (RIGHT_LUNG, LEFT_LUNG)]
    airy = [Outline(smooth(points), 150.0, 55.0) for points in lungs]
    size = float(rng.normal(1.0, 0.08))
    heart = Outline(smooth(tuple((x * size, (y - 98) * size + 98) for x, y in HEART)), 100.0, 40.0)
    middle = Outline(smooth(MEDIASTINUM), 130.0, 16.0)
    vessels = _vessels(rng)
    airways = (
        *chain(((1.0, -200.0), (2.0, -60.0), (1.0, -6.0)), (8.0, 8.0, 8.5), (0.0,), (0.0,)),
        *chain(((1.0, -6.0), (-26.0, 18.0)), (6.5, 5.5), (0.0,), (0.0,)),
        *chain(((1.0, -6.0), (32.0, 16.0)), (5.5, 4.5), (0.0,), (0.0,)),
    )
    stomach = Outline(smooth(((34.0, 112.0), (52.0, 102.0), (72.0, 110.0), (60.0, 124.0))), 45.0, 10.0)
    breast_cm = float(rng.uniform(1.5, 4.5)) if traits.is_female else 0.4
    low = float(rng.normal(96.0, 10.0))

    def soft_cm(x: Array, y: Array) -> Array:
        shoulder = np.clip((-70.0 - y) / 60.0, 0, 1)
        neck = np.clip((-150.0 - y) / 25.0, 0, 1)
        width = (half_width + 48.0 * shoulder) * (1 - neck) + (62.0 + 70.0 * (1 - neck)) * neck
        thick = (trunk_cm - 7.0 * shoulder) * (1 - neck) + 12.0 * neck
        tissue: Array = thick * np.sqrt(np.maximum(1 - np.abs(x / width) ** 2.6, 0)).astype(np.float32)
        for sign in (-1.0, 1.0):
            away = np.hypot(
                (x - sign * 74.0) / 62.0, (y - low + 34.0) / np.where(y > low - 34.0, 36.0, 70.0)
            )
            tissue += np.float32(breast_cm) * np.sqrt(np.maximum(1 - away**2, 0)).astype(np.float32)
        air = sum((thickness(lung, x, y) for lung in airy), np.zeros_like(x))
        pushed = np.maximum(
            thickness(heart, x, y),
            thickness(middle, x, y),
        )
        free = np.maximum(air - pushed, 0) / np.maximum(air, 1.0)
        lung_cm = 0.1 * np.minimum(np.maximum(air - pushed, 0), 8.6 * np.maximum(thick - 5.0, 0))
        tissue -= np.float32(LUNG_AIR) * lung_cm
        tissue += 2.0 * LUNG_AIR * _union_cm(vessels, x, y) * np.clip(free * 2, 0, 1)
        tissue -= 0.1 * thickness(stomach, x, y)
        tissue -= np.minimum(_union_cm(airways, x, y), np.maximum(tissue - 1.0, 0))
        return tissue

    return soft_cm


def _vessels(rng: np.random.Generator) -> tuple[Solid, ...]:
    """Two trees of vessels that fork, thin and fade towards the rim."""
    grown: list[Solid] = []

    def grow(at: Point, angle: float, radius: float) -> None:
        length = float(rng.uniform(3.4, 5.2)) * radius + 7.0
        tip = (at[0] + length * float(np.cos(angle)), at[1] + length * float(np.sin(angle)))
        thin = radius * 0.86
        grown.append(Solid(at, tip, (radius, thin), (0.0, 0.0), (0.0, 0.0)))
        if thin < 0.7:
            return
        spread = float(rng.uniform(0.25, 0.6))
        share = float(rng.uniform(0.62, 0.85))
        grow(tip, angle + spread * float(rng.choice((-1.0, 1.0))) * 0.5, thin * share)
        grow(tip, angle - spread * float(rng.choice((-1.0, 1.0))), thin * (1.35 - share) * 0.95)

    for sign, root in ((-1.0, (-30.0, 4.0)), (1.0, (36.0, -6.0))):
        for angle in (-1.25, -0.7, -0.2, 0.3, 0.75, 1.15, 1.45):
            turned = angle + float(rng.normal(0.0, 0.1))
            grow(root, turned if sign > 0 else float(np.pi) - turned, float(rng.uniform(3.2, 5.2)))
    return tuple(grown)


def _union_cm(solids: tuple[Solid, ...], x: Array, y: Array) -> Array:
    """Path through bodies of tissue or air [h,w], seen as one, each looked for only near its axis."""
    half2, spans = np.zeros(x.shape, np.float32), Spans.of(x, y)
    for solid in solids:
        (ax, ay), (bx, by) = solid.a, solid.b
        reach = max(solid.radius)
        part = spans.rows_near(ay, by, reach), spans.columns_near(ax, bx, reach)
        px, py = x[part], y[part]
        dx, dy = bx - ax, by - ay
        share = np.clip(((px - ax) * dx + (py - ay) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        radius = solid.radius[0] + (solid.radius[1] - solid.radius[0]) * share
        away2 = (px - ax - share * dx) ** 2 + (py - ay - share * dy) ** 2
        np.maximum(half2[part], (radius * radius - away2).astype(np.float32), out=half2[part])
    path: Array = np.sqrt(half2) * np.float32(0.2)
    return path


def _moved(points: tuple[Point, ...], x: float, y: float) -> tuple[Point, ...]:
    return tuple((a + x, b + y) for a, b in points)


def _scaled(points: tuple[Point, ...], breath: float) -> tuple[Point, ...]:
    """Lungs of a deeper breath reach lower."""
    return tuple((x, y * breath if y > 0 else y) for x, y in points)
