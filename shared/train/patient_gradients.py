"""One clipped gradient per patient, summed: the only place where patients meet the weights.

A patient's gradient is taken over all trainable tensors jointly, set to zero when any part of it is
not finite, and scaled to at most the clip norm. Norms and the sum are float64, so that adding or
removing one patient moves the sum by the clip norm and not by rounding of the others. Two backends
give the same sum: ``loop`` (one backward pass per patient, the oracle) and ``vmap`` (chunks of
patients at once). Films are read from their store by the patient or the chunk.
Legend: b patients · p trainable weights, in ``named_parameters`` order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from shared.errors import PrivacyError
from shared.model.end_to_end import EndToEnd
from shared.model.weights import trainable
from shared.train.canaries import WithRegister
from shared.train.loss import PatientLoss
from shared.train.patients import PatientBatch

Backend = Literal["loop", "vmap"]


def choose_backend(model: nn.Module) -> Backend:
    """The faster backend for a model, where measured; both give the same sum.

    A head is small kernels, which ``vmap`` shares between patients. On a processor an encoder's own
    work is all there is, and one patient at a time needs the least memory.
    """
    trains_encoder = any(isinstance(part, EndToEnd) for part in model.modules())
    is_on_gpu = any(weight.is_cuda for weight in model.parameters())
    return "loop" if trains_encoder and not is_on_gpu else "vmap"


def clipped_sum(
    model: nn.Module,
    batch: PatientBatch,
    *,
    loss: PatientLoss,
    clip_norm: float | None,
    backend: Backend = "vmap",
    chunk: int = 128,
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
    if backend == "loop":
        for part in trim_padding(batch, 1):
            gradient = _gradient_of_one(model, part.with_films().patient(0), loss)[None]  # [1,p]
            total += sum_clipped_rows(_part_canaries(model, gradient, part), clip_norm=clip_norm)
    else:
        for part in trim_padding(batch, chunk):
            gradients = _gradients_by_vmap(model, part.with_films(), loss)  # [b,p]
            total += sum_clipped_rows(_part_canaries(model, gradients, part), clip_norm=clip_norm)
    return total


def trim_padding(batch: PatientBatch, size: int) -> Iterator[PatientBatch]:
    """The patients in batches of at most ``size``, alike in extent, without the padding they share.

    A patient's loss does not see masked exams and views, so cutting them off changes nothing but time.
    """
    if not len(batch):
        return
    n_exams = _last_used(batch.exam_mask)  # [b]
    n_views = _last_used((batch.view_mask & batch.exam_mask.unsqueeze(-1)).any(dim=1))  # [b]
    order = torch.argsort(n_exams * (batch.view_mask.shape[2] + 1) + n_views, stable=True)
    for rows in order.split(size):  # type: ignore[no-untyped-call]
        part = batch.select(rows)
        u, v = max(1, int(n_exams[rows].max())), max(1, int(n_views[rows].max()))
        yield PatientBatch(
            tokens=part.tokens[:, :u, :v],
            view_mask=part.view_mask[:, :u, :v],
            fields=part.fields[:, :u],
            field_mask=part.field_mask[:, :u],
            target=part.target[:, :u],
            exam_mask=part.exam_mask[:, :u],
            canary=part.canary,
            films=part.films,
        )


def _last_used(mask: Tensor) -> Tensor:
    """For each row of [b,n] one past its last True, 0 when there is none."""
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * places).amax(dim=1) if mask.shape[1] else mask.sum(dim=1)


def _part_canaries(model: nn.Module, gradients: Tensor, part: PatientBatch) -> Tensor:
    """``gradients`` [b,p] with exact zeros where a canary meets the model's own weights.

    They are zero already, unless the weights are so large that 0 times their gradient is NaN.
    """
    if not isinstance(model, WithRegister):
        return gradients
    is_models = torch.arange(gradients.shape[1], device=gradients.device) >= model.register.numel()
    return gradients.masked_fill((part.canary >= 0)[:, None] & is_models, 0.0)


def sum_clipped_rows(gradients: Tensor, *, clip_norm: float | None) -> Tensor:
    """Sum of the rows, each scaled to at most ``clip_norm``; a row that is not finite counts as 0.

    Shapes: [b,p] -> float64 [p].
    """
    norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64)  # [b]
    is_finite = torch.isfinite(norms)
    factors = torch.ones_like(norms)
    if clip_norm is not None:
        factors = (clip_norm / norms).clamp(max=1.0)
    factors = torch.where(is_finite, factors, torch.zeros_like(factors))
    rows = gradients.to(torch.float64)
    rows[~is_finite] = 0.0  # 0 · inf would be NaN
    total: Tensor = factors @ rows
    return total


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
        def run(*inputs: Tensor) -> Tensor:
            output: Tensor = functional_call(model, {**rest, **current}, inputs)
            return output

        return loss(run, PatientBatch(*tensors))

    per_patient = vmap(grad(loss_of), in_dims=(None, 0))(weights, part.tensors())
    return torch.cat([per_patient[name].reshape(len(part), -1) for name in weights], dim=1)
