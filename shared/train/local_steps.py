"""A site's part of one round: steps on the clipped, noised sum, then one bounded update.

The charge for these steps is in the ledger before this is called. Nothing is measured on the way and
nothing stops early: the number of steps is the plan's. Without noise it is deterministic.
Imports the gradient engine, the optimizer and flat weights.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.errors import PrivacyError
from shared.model.weights import trainable
from shared.privacy.noise import DrawNormals
from shared.privacy.sampler import PoissonSampler
from shared.train.canaries import AuditRegister
from shared.train.loss import PatientLoss
from shared.train.noised_sum import noised_sum
from shared.train.patient_gradients import clipped_sum
from shared.train.patients import PatientBatch
from shared.train.rows import Backend

Floats = NDArray[np.float64]
Update = np.ndarray[tuple[int], np.dtype[np.float32]]


def train_round(
    model: nn.Module,
    batch: PatientBatch,
    *,
    loss: PatientLoss,
    steps: int,
    learning_rate: float,
    clip_norm: float | None,
    noise_multiplier: float,
    divisor: float,
    update_norm_max: float,
    proximal_mu: float,
    draw_normals: DrawNormals,
    local_tail: float = 0.0,
    sample_rate: float = 1.0,
    register: AuditRegister | None = None,
    backend: Backend | None = None,
    chunk: int = 128,
    places: int = 0,
) -> Update:
    """Train ``model`` in place from its current weights and return the update, float32 [p].

    Each step: weights −= learning_rate · ((Σ clipped gradients + noise)/divisor + μ·(weights − start)).
    The finished update is scaled to at most ``update_norm_max``.

    Args:
        model: holds the round's starting weights.
        batch: every patient of the training split (sample rate 1).
        loss: one patient's loss.
        steps: noised sums to release, as charged.
        learning_rate: of SGD without momentum.
        clip_norm: L2 bound per patient; None: privacy off, neither clipped nor noised.
        noise_multiplier: noise standard deviation over ``clip_norm``; 0 only for privacy off or tests.
        divisor: public constant B.
        update_norm_max: L2 bound of the finished update.
        proximal_mu: μ of FedProx (Li et al. 2020, arXiv 1812.06127); 0 is FedAvg.
        draw_normals: a ``NoiseStream``.
        local_tail: share of the last steps whose weights are averaged into the update (Polyak &
            Juditsky 1992); free, since every step's weights follow from noised sums. 0: the last ones.
        sample_rate: chance of each patient to be in a step, drawn from the operating system; 1:
            everybody in every step.
        register: takes each step's noised sums of an audit's canaries (``canaries``).
        backend: of ``clipped_sum``.
        chunk: of ``clipped_sum``.
        places: of the split, canaries apart; a sampled step has those of a draw from them.

    Raises:
        PrivacyError: noise or canaries were asked for without a clip norm.
    """
    from shared.train.dp_optimizer import PatientOptimizer

    _require_clipped(clip_norm, noise_multiplier, register)
    released = [weight for _, weight in trainable(model)]
    if register is not None and clip_norm is not None:
        n_patients = len(batch)
        model, batch, loss = register.attach(model, batch, loss, clip_norm=clip_norm)
        places += len(batch) - n_patients
    weights = [weight for _, weight in trainable(model)]
    start = [weight.detach().clone() for weight in weights]

    def pull_towards_start() -> None:
        if proximal_mu > 0:
            for weight, origin in zip(weights, start, strict=True):
                if weight.grad is not None:
                    weight.grad += proximal_mu * (weight.detach() - origin)

    optimizer = PatientOptimizer(
        weights,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        noise_multiplier=noise_multiplier,
        divisor=divisor,
        draw_normals=draw_normals,
        adjust=pull_towards_start,
        register=register,
    )
    sampler = PoissonSampler(sample_rate, patients=max(places, len(batch)))
    sum_of = partial(clipped_sum, loss=loss, clip_norm=clip_norm, backend=backend, chunk=chunk)
    n_tail = _steps_averaged(steps, local_tail)
    tail = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    for step in range(steps):
        chosen = _drawn(batch, sampler)
        optimizer.step_with(sum_of(model, chosen, places=sampler.places))
        if step >= steps - n_tail:
            for kept, weight, origin in zip(tail, weights, start, strict=True):
                kept += weight.detach().to(torch.float64) - origin
    change = torch.cat(
        [
            kept.reshape(-1) / n_tail
            for kept, weight in zip(tail, weights, strict=True)
            if any(weight is each for each in released)
        ]
    )
    return bound_update(change, norm_max=update_norm_max)


def weights_of_steps(steps: int, *, kept: float, local_tail: float) -> tuple[float, ...]:
    """How much of each step's sum is in the finished change of ``train_round``, in single steps.

    Args:
        steps: of the round.
        kept: of an earlier change when a step pulls it back: 1 − learning rate · μ.
        local_tail: as of ``train_round``.
    """
    n_tail = _steps_averaged(steps, local_tail)
    averaged = range(steps - n_tail, steps)
    return tuple(
        sum(kept ** (last - step) for last in averaged if last >= step) / n_tail
        for step in range(steps)
    )


def _steps_averaged(steps: int, local_tail: float) -> int:
    return max(1, math.ceil(local_tail * steps))


def one_sum(
    model: nn.Module,
    batch: PatientBatch,
    *,
    loss: PatientLoss,
    clip_norm: float | None,
    noise_multiplier: float,
    draw_normals: DrawNormals,
    sample_rate: float = 1.0,
    register: AuditRegister | None = None,
    backend: Backend | None = None,
    chunk: int = 128,
    places: int = 0,
) -> Floats:
    """One sum of clipped gradients with its noise at the model's weights, float64 [p].

    Arguments as ``train_round``, and the same raises. The weights stay as they are.
    """
    _require_clipped(clip_norm, noise_multiplier, register)
    n_canaries = 0
    if register is not None and clip_norm is not None:
        n_patients = len(batch)
        model, batch, loss = register.attach(model, batch, loss, clip_norm=clip_norm)
        places += len(batch) - n_patients
        n_canaries = len(register.coins)
    sampler = PoissonSampler(sample_rate, patients=max(places, len(batch)))
    total = clipped_sum(
        model,
        _drawn(batch, sampler),
        loss=loss,
        clip_norm=clip_norm,
        backend=backend,
        chunk=chunk,
        places=sampler.places,
    )
    if clip_norm is not None:
        total = noised_sum(
            total,
            sensitivity=clip_norm,
            noise_multiplier=noise_multiplier,
            draw_normals=draw_normals,
            register=register,
        )
    released: Floats = total[n_canaries:].cpu().numpy()
    return released


def _drawn(batch: PatientBatch, sampler: PoissonSampler) -> PatientBatch:
    """Who takes part in a step: everybody, or those whom chance has drawn."""
    if sampler.sample_rate == 1:
        return batch
    return batch.select(sampler.draw_rows(len(batch)))


def _require_clipped(
    clip_norm: float | None, noise_multiplier: float, register: AuditRegister | None
) -> None:
    if clip_norm is None and noise_multiplier > 0:
        raise PrivacyError("unclipped-noise", "noise protects nobody when nothing is clipped")
    if clip_norm is None and register is not None:
        raise PrivacyError("unclipped-canaries", "an audit needs a clip norm")


def bound_update(change: Tensor, *, norm_max: float) -> Update:
    """``change`` [p] as float32 with an L2 norm of at most ``norm_max``; zeros if it is not finite.

    Scaled a hair below the bound, so that the receiver's own float64 norm agrees.
    """
    if not torch.isfinite(change).all():
        return np.zeros(change.numel(), dtype=np.float32)
    norm = float(torch.linalg.vector_norm(change))
    if norm > norm_max:
        change = change * (norm_max * (1 - 1e-6) / norm)
    bounded: Update = change.to("cpu", torch.float32).numpy()
    return bounded
