"""What a phantom's file draws: bones, soft tissue, gas and metal, and what is true of them.

An anatomy is data in millimetres; how it is seen is ``film``. Imports outlines, and solids of the
package above.

Legend: h w pixels; x to the film's right on a right side, y to its lower edge, lengths in mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from server.synthetic.phantoms.outlines import Outline
from server.synthetic.solids import Array, Point, Solid

SoftTissue = Callable[[Array, Array], Array]  # x, y [h,w] -> path in cm of soft tissue


@dataclass(frozen=True)
class Traits:
    """Who is filmed: what an anatomy may depend on.

    ``bmd_ratio``: BMD over its young reference; ``cortex_ratio`` thickness of cortex over that of a
    person at the reference: it follows BMD and, besides, differs between people of equal BMD.
    ``is_positive``: has the finding; ``has_implant``: and metal of its repair.
    """

    is_female: bool
    age_years: float
    bmi: float
    scale: float
    bmd_ratio: float
    cortex_ratio: float
    is_positive: bool = False
    has_implant: bool = False


@dataclass(frozen=True)
class Break:
    """A fracture through a bone: where, the direction of its line, and where the far part lies now.

    The far part (to the left of ``direction`` on a right side's film) is turned about ``at`` and
    shifted; between the parts lies a gap whose edge is ragged by ``rough`` mm (SD).
    """

    at: Point
    direction: Point
    turn_degrees: float
    shift: Point
    gap: float
    rough: float
    seed: int


@dataclass(frozen=True)
class Bone:
    """One bone: solids and outlines that are seen as one body.

    ``is_measured``: its areal density is the film's BMD; ``is_marked``: it is in the bone mask.
    """

    name: str
    solids: tuple[Solid, ...] = ()
    outlines: tuple[Outline, ...] = ()
    is_measured: bool = False
    is_marked: bool = True
    fracture: Break | None = None


@dataclass(frozen=True)
class HeightLoss:
    """A vertebra's height lost to fracture, as shares of its own: in front, in the middle, behind."""

    level: str
    anterior: float
    middle: float
    posterior: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.anterior, self.middle, self.posterior)

    @property
    def grade(self) -> int:
        """Semiquantitative grade 0 to 3 (Genant et al., J Bone Miner Res 1993;8:1137)."""
        return int(np.searchsorted((0.20, 0.25, 0.40), self.worst, side="right"))


@dataclass(frozen=True)
class Scene:
    """What stands before the beam.

    ``class_name``: what a reader calls it; empty: nothing is read. ``least_cm``: automatic exposure
    looks where tissue is thicker than this.
    """

    bones: tuple[Bone, ...]
    soft_cm: SoftTissue
    landmark: Point
    metal: tuple[Solid, ...] = ()
    class_name: str = ""
    has_fracture: bool = False
    losses: tuple[HeightLoss, ...] = ()
    least_cm: float = 1.0


def chain(
    points: tuple[Point, ...],
    radius: tuple[float, ...],
    cortex: tuple[float, ...],
    filling: tuple[float, ...],
) -> tuple[Solid, ...]:
    """A curved bone: capsules from point to point, each quantity given at every point or once."""
    radii, cortices, fillings = (
        values * len(points) if len(values) == 1 else values for values in (radius, cortex, filling)
    )
    return tuple(
        Solid(
            points[i],
            points[i + 1],
            (radii[i], radii[i + 1]),
            (cortices[i], cortices[i + 1]),
            (fillings[i], fillings[i + 1]),
        )
        for i in range(len(points) - 1)
    )


def limb_cm(solids: tuple[Solid, ...], x: Array, y: Array) -> Array:
    """Soft tissue of a limb [h,w] in cm: round sections along its axes, seen as one."""
    half2 = np.zeros(x.shape, np.float32)
    for solid in solids:
        (ax, ay), (bx, by) = solid.a, solid.b
        dx, dy = np.float32(bx - ax), np.float32(by - ay)
        share = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        radius = np.float32(solid.radius[0]) + np.float32(solid.radius[1] - solid.radius[0]) * share
        away2 = (x - ax - share * dx) ** 2 + (y - ay - share * dy) ** 2
        np.maximum(half2, radius * radius - away2, out=half2)
    thick: Array = np.sqrt(half2) * np.float32(0.2)
    return thick
