"""Ways to break the noise of a site, each by replacing one function where it is looked up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import client.answers.answer
import shared.privacy.noise
import shared.stages.stage_sum
import shared.train.dp_optimizer
import shared.train.local_steps
import shared.train.noised_sum
from shared.train.canaries import AuditRegister

Plant = Callable[[pytest.MonkeyPatch], None]


def noise_times(factor: float) -> Plant:
    """The optimizer adds ``factor`` times the noise that was charged."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        module = shared.train.noised_sum
        honest = module.add_gaussian_noise

        def weakened(total: Tensor, *, noise_multiplier: float, **names: object) -> Tensor:
            if factor == 0:
                return total
            return honest(total, noise_multiplier=factor * noise_multiplier, **names)  # type: ignore[arg-type]

        patch.setattr(module, "add_gaussian_noise", weakened)

    return plant


def _noise_of_steps(change: Callable[[Tensor, Tensor, int], Tensor]) -> Plant:
    """Training goes on with ``change`` of (sum, noised sum, numbers of the register)."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        honest = shared.train.noised_sum.noised_sum

        def changed(total: Tensor, *, register: AuditRegister | None = None, **names: object) -> Tensor:
            noised = honest(total, register=register, **names)  # type: ignore[arg-type]
            return change(total, noised, len(register.coins) if register else 0)

        for module in (shared.train.dp_optimizer, shared.train.local_steps):
            patch.setattr(module, "noised_sum", changed)

    return plant


def _tenth_on_the_model(total: Tensor, noised: Tensor, n_register: int) -> Tensor:
    spared = total + 0.1 * (noised - total)
    spared[:n_register] = noised[:n_register]
    return spared


tenth_on_the_model = _noise_of_steps(_tenth_on_the_model)
tenth_on_the_model.__doc__ = "The register gets the noise that was charged, the model a tenth of it."
without_the_noise = _noise_of_steps(lambda total, _, __: total.to(torch.float64))
without_the_noise.__doc__ = "Steps follow the sum without its noise; the register keeps the noised one."


def seeded_noise(patch: pytest.MonkeyPatch) -> None:
    """Every round draws its noise from the same seed."""

    class Seeded:
        def __init__(self) -> None:
            self._generator = torch.Generator().manual_seed(7)

        def __call__(self, n: int) -> Tensor:
            return torch.randn(n, generator=self._generator, dtype=torch.float64)

    patch.setattr(client.answers.answer, "NoiseStream", Seeded)


def one_draw_for_all(patch: pytest.MonkeyPatch) -> None:
    """A stream gives its first draw again and again: all steps of a round share noise."""
    honest = shared.privacy.noise.NoiseStream.__call__

    def draw(self: shared.privacy.noise.NoiseStream, n: int) -> Tensor:
        if not hasattr(self, "kept"):
            self.kept = {}  # type: ignore[attr-defined]
        kept = self.kept  # type: ignore[attr-defined]
        if n not in kept:
            kept[n] = honest(self, n)
        return kept[n].clone()

    patch.setattr(shared.privacy.noise.NoiseStream, "__call__", draw)


def second_half_repeats(patch: pytest.MonkeyPatch) -> None:
    """The second normal of each pair is the first one again."""
    honest = shared.privacy.noise.NoiseStream.__call__

    def draw(self: shared.privacy.noise.NoiseStream, n: int) -> Tensor:
        normals = honest(self, n).clone()
        half = (n + 1) // 2
        normals[half:] = normals[: n - half]
        return normals

    patch.setattr(shared.privacy.noise.NoiseStream, "__call__", draw)


def column_without_noise(patch: pytest.MonkeyPatch) -> None:
    """The last column of what tables, measures and learners release has no noise."""
    module = shared.stages.stage_sum
    honest = module.noised

    def spared(total: np.ndarray, **names: object) -> np.ndarray:
        noised = honest(total, **names)  # type: ignore[arg-type]
        noised[-1] = total[-1]
        return noised

    patch.setattr(module, "noised", spared)


def off_the_lattice(patch: pytest.MonkeyPatch) -> None:
    """Noise is added as it is drawn, in floats whose last bits tell of the sum."""

    def add(
        total: Tensor,
        *,
        sensitivity: float,
        noise_multiplier: float,
        draw_normals: Callable[[int], Tensor],
    ) -> Tensor:
        normals = draw_normals(total.numel()).to(total.device).view_as(total)
        return total.to(torch.float64) + noise_multiplier * sensitivity * normals

    patch.setattr(shared.train.noised_sum, "add_gaussian_noise", add)
