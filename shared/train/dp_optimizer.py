"""Opacus' optimizer, fed with one clipped sum per step and our own noise.

Opacus' per-sample hooks are not used (its ``no_op`` mode): the sum over patients comes from
``patient_gradients``. What stays is its order of work: take the sum, add noise of standard deviation
noise_multiplier · clip_norm, divide by a constant, step. The project's one door to Opacus' optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from shared.privacy.noise import DrawNormals, add_gaussian_noise


class PatientOptimizer(DPOptimizer):  # type: ignore[misc]
    """Plain SGD on (Σ clipped patient gradients + noise) / divisor.

    Args:
        weights: trainable tensors, in the order of the sums.
        learning_rate: of SGD without momentum.
        clip_norm: sensitivity of a sum; None when nothing is clipped, then no noise is added.
        noise_multiplier: 0 adds no noise.
        divisor: public constant B, never the number of patients at hand.
        draw_normals: source of the noise.
        adjust: called after noise and division, before the step, to add what depends on weights only.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        *,
        learning_rate: float,
        clip_norm: float | None,
        noise_multiplier: float,
        divisor: float,
        draw_normals: DrawNormals,
        adjust: Callable[[], None],
    ) -> None:
        super().__init__(
            torch.optim.SGD(weights, lr=learning_rate),
            noise_multiplier=noise_multiplier if clip_norm is not None else 0.0,
            max_grad_norm=clip_norm if clip_norm is not None else 0.0,
            expected_batch_size=divisor,
            loss_reduction="mean",
        )
        self._draw_normals = draw_normals
        self.noised: list[Tensor] = []
        self.attach_step_hook(lambda _: adjust())

    def step_with(self, total: Tensor) -> None:
        """One step on the clipped sum ``total`` [p], float64."""
        self.zero_grad(set_to_none=True)
        start = 0
        for weight in self.params:
            piece = total[start : start + weight.numel()].view(1, *weight.shape)
            weight.grad_sample = piece
            start += weight.numel()
        self.step()
        self.zero_grad(set_to_none=True)

    def clip_and_accumulate(self) -> None:
        """Take the sum as it is: patients were clipped before they were added."""
        for weight in self.params:
            weight.summed_grad = weight.grad_sample[0]

    def add_noise(self) -> None:
        """Add lattice noise from our own stream, in float64, and hand the result to SGD.

        ``noised`` keeps the sums with their noise, one per tensor, until the next step.
        """
        self.noised = []
        for weight in self.params:
            total: Tensor = weight.summed_grad
            if self.noise_multiplier > 0:
                total = add_gaussian_noise(
                    total,
                    sensitivity=self.max_grad_norm,
                    noise_multiplier=self.noise_multiplier,
                    draw_normals=self._draw_normals,
                )
            self.noised.append(total)
            weight.grad = total.to(weight.dtype)
