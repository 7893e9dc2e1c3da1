"""The phantoms: one line each, from the anatomy that a YAML in ``settings`` names to what draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from server.synthetic.phantoms import chest, elbow, humerus, spine, wrist
from server.synthetic.phantoms.scene import Scene, Traits

ANATOMIES: Mapping[str, Callable[[Traits, np.random.Generator], Scene]] = {
    "chest": chest.draw_scene,
    "spine": spine.draw_scene,
    "humerus": humerus.draw_scene,
    "wrist": wrist.draw_scene,
    "elbow": elbow.draw_scene,
}
# Bones of which a hospital has boxes, as they are called in ``PhantomFilm.parts``.
UNITS: Mapping[str, tuple[str, ...]] = {"spine": spine.LEVELS}
