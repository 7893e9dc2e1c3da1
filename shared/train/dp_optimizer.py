"""Opacus' optimizer, fed with one clipped sum per step and our own noise.

Opacus' per-sample hooks are not used (its ``no_op`` mode): the sum over patients comes from
``patient_gradients``. What stays is its order of work: take the sum, add noise of standard deviation
noise_multiplier · clip_norm in one draw over all tensors, divide by a constant, step. The project's one
door to Opacus' optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from shared.privacy.noise import DrawNormals
from shared.train.canaries import AuditRegister
from shared.train.noised_sum import noised_sum


class PatientOptimizer(DPOptimizer):  # type: ignore[misc]
    """Plain SGD on (Σ clipped patient gradients + noise) / divisor.

    Args:
        weights: trainable tensors, in the order of the sums.
        learning_rate: of SGD without momentum.
        clip_norm: sensitivity of a sum; None when nothing is clipped, then no noise is added.
        noise_multiplier: 0 adds no noise.
        divisor: public constant B, never the number of patients at hand.
        draw_normals: source of the noise.
        register: of an audit; takes its part of each noised sum.
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
        register: AuditRegister | None = None,
    ) -> None:
        super().__init__(
            torch.optim.SGD(weights, lr=learning_rate),
            noise_multiplier=noise_multiplier if clip_norm is not None else 0.0,
            max_grad_norm=clip_norm if clip_norm is not None else 0.0,
            expected_batch_size=divisor,
            loss_reduction="mean",
        )
        self._draw_normals = draw_normals
        self._register = register
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
        """Add lattice noise from our own stream, in float64, and hand the result to SGD."""
        noised = noised_sum(
            torch.cat([weight.summed_grad.reshape(-1) for weight in self.params]),
            sensitivity=self.max_grad_norm,
            noise_multiplier=self.noise_multiplier,
            draw_normals=self._draw_normals,
            register=self._register,
        )
        start = 0
        for weight in self.params:
            piece = noised[start : start + weight.numel()].view_as(weight)
            weight.grad = piece.to(weight.dtype)
            start += weight.numel()
