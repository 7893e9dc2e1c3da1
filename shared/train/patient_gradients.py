"""One clipped gradient per patient, summed: the only place where patients meet the weights.

A patient's gradient is taken over all trainable tensors jointly, set to zero when any part of it is
not finite, and scaled to at most the clip norm. Norms and the sum are float64, so that adding or
removing one patient moves the sum by the clip norm and not by rounding of the others. Two backends
give the same sum: ``loop`` (one backward pass per patient, the oracle) and ``vmap`` (chunks of
patients at once). Legend: b patients · p trainable weights, in ``named_parameters`` order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from shared.errors import PrivacyError
from shared.model.weights import trainable
from shared.train.loss import PatientLoss
from shared.train.patients import PatientBatch, make_batches

Backend = Literal["loop", "vmap"]


def clipped_sum(
    model: nn.Module,
    batch: PatientBatch,
    *,
    loss: PatientLoss,
    clip_norm: float | None,
    backend: Backend = "vmap",
    chunk: int = 64,
) -> Tensor:
    """Sum over patients of the clipped gradient, float64 [p].

    Args:
        model: works on the exams of one patient; nothing in it may couple patients.
        batch: patients; none at all gives zeros.
        loss: one patient's loss as a function of the model.
        clip_norm: L2 bound of each patient, above 0; None: not clipped, no privacy.
        backend: ``loop`` or ``vmap``.
        chunk: patients per ``vmap`` call, which bounds memory.

    Raises:
        PrivacyError: the clip norm is not positive, or nothing is trainable.
    """
    if clip_norm is not None and not clip_norm > 0:
        raise PrivacyError("bad-clip-norm", f"clip norm must be above 0, not {clip_norm}")
    weights = [weight for _, weight in trainable(model)]
    if not weights:
        raise PrivacyError("nothing-trainable", "the model has no trainable weights")
    total = torch.zeros(
        sum(weight.numel() for weight in weights), dtype=torch.float64, device=weights[0].device
    )
    size = 1 if backend == "loop" else chunk
    for part in make_batches(batch, size):
        if backend == "loop":
            gradients = _gradient_of_one(model, part.patient(0), loss)[None]  # [1,p]
        else:
            gradients = _gradients_by_vmap(model, part, loss)  # [b,p]
        total += clip_rows(gradients, clip_norm=clip_norm).sum(dim=0)
    return total


def clip_rows(gradients: Tensor, *, clip_norm: float | None) -> Tensor:
    """Each row scaled to at most ``clip_norm``, in float64; a row that is not finite becomes 0.

    Shapes: [b,p] -> [b,p].
    """
    rows = gradients.to(torch.float64)
    is_finite = torch.isfinite(rows).all(dim=1, keepdim=True)  # [b,1]
    rows = torch.where(is_finite, rows, torch.zeros_like(rows))
    if clip_norm is None:
        return rows
    # The largest entry is divided out first: the square of a huge finite float overflows.
    largest = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-300)
    norms = largest * torch.linalg.vector_norm(rows / largest, dim=1, keepdim=True)
    factors: Tensor = (clip_norm / norms).clamp(max=1.0)  # [b,1]
    return rows * factors


def _gradient_of_one(model: nn.Module, patient: PatientBatch, loss: PatientLoss) -> Tensor:
    """Flat gradient [p] of one patient's loss."""
    weights = [weight for _, weight in trainable(model)]
    value = loss(model, patient)
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(weight).reshape(-1) for weight in weights])
    parts = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    flat: Tensor = torch.cat([part.reshape(-1) for part in parts])
    return flat


def _gradients_by_vmap(model: nn.Module, part: PatientBatch, loss: PatientLoss) -> Tensor:
    """Flat gradients [b,p] of each patient's loss."""
    weights = {name: weight.detach() for name, weight in trainable(model)}
    rest = {
        name: tensor.detach()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if name not in weights
    }

    def loss_of(current: Mapping[str, Tensor], tensors: tuple[Tensor, ...]) -> Tensor:
        def run(tokens: Tensor, view_mask: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
            output: Tensor = functional_call(
                model, {**rest, **current}, (tokens, view_mask, fields, field_mask)
            )
            return output

        return loss(run, PatientBatch(*tensors))

    per_patient = vmap(grad(loss_of), in_dims=(None, 0))(weights, part.tensors())
    return torch.cat([per_patient[name].reshape(len(part), -1) for name in weights], dim=1)
