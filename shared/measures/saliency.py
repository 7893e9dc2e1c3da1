"""How well a map of where a model looks agrees with a mask of bone, beyond chance.

A film is a grid of places, each with what hiding it changes and the share of it that is bone. Nothing
depends on how ties are broken: places of one value share what is left. Imports numpy only.
Legend: t places of a film.

Source: Zhang et al. 2018 (IJCV 126:1084), the pointing game.
"""

from __future__ import annotations

import numpy as np

from shared.sums.contract import Floats


def agreement(heat: Floats, bone: Floats) -> Floats:
    """IoU, pointing-game hit and energy in bone of one film [3], each less what chance gives.

    The IoU is of the most salient area as large as the bone; a random area of that size has q/(2 − q),
    where q is the bone's share of the film, and a random point hits bone, and a random energy lies
    in it, to the share q. A map that is flat, or no number, is chance.

    Args:
        heat: what hiding each place changes, ≥ 0 [t].
        bone: share of each place that is bone, in [0, 1] [t].
    """
    share = float(bone.mean())
    if not share or not np.isfinite(heat).all() or not heat.max() > 0:
        return np.zeros(3)
    scaled = heat / heat.max()
    taken = most_salient(scaled, share)
    common = float(taken @ bone) / len(bone)
    top = scaled == 1.0
    return np.array(
        [
            common / (2.0 * share - common) - share / (2.0 - share),
            float(bone[top].mean()) - share,
            float(scaled @ bone) / float(scaled.sum()) - share,
        ]
    )


def most_salient(heat: Floats, share: float) -> Floats:
    """How much of each place [t] is in the most salient area of this share of a film.

    Places of one value are taken to the same part.
    """
    _, place, counts = np.unique(-heat, return_inverse=True, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    taken: Floats = np.clip((share * len(heat) - before) / counts, 0.0, 1.0)[place]
    return taken
