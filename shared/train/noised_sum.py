"""One sum with its noise: a single draw over all of it, an audit's register at secret places of it.

Whatever adds noise meets one flat vector in an order that it cannot know, so that it treats a
register's numbers as it treats the model's. Imports noise and canaries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.privacy.noise import DrawNormals, add_gaussian_noise
from shared.train.canaries import AuditRegister


def noised_sum(
    total: Tensor,
    *,
    sensitivity: float,
    noise_multiplier: float,
    draw_normals: DrawNormals,
    register: AuditRegister | None = None,
) -> Tensor:
    """``total`` [p] with noise, float64; the register keeps its part of it.

    Args:
        total: clipped patient gradients, added; a register's numbers first.
        sensitivity: as of ``add_gaussian_noise``.
        noise_multiplier: 0 adds none, for privacy off or tests.
        draw_normals: a ``NoiseStream``.
        register: of an audit.
    """

    def add_noise(values: Tensor) -> Tensor:
        if noise_multiplier == 0:
            return values.to(torch.float64)
        return add_gaussian_noise(
            values,
            sensitivity=sensitivity,
            noise_multiplier=noise_multiplier,
            draw_normals=draw_normals,
        )

    if register is None:
        return add_noise(total)
    order = register.order(total.numel()).to(total.device)
    noised = torch.empty_like(total, dtype=torch.float64)
    noised[order] = add_noise(total[order])
    register.record(noised)
    return noised
