"""One clipped gradient per patient, summed: the only place where patients meet the weights.

A patient's gradient is taken over all trainable tensors jointly, set to zero when any part of it is not
finite, scaled to at most the clip norm, and truncated towards zero to a public lattice, on which rows
are added as integers. So one patient moves the sum by exactly that patient's row, in any order; and
the row is a function of that patient alone, bit for bit: all patients have one shape and are computed
in chunks of one size, filled with rows of nobody, and in as many as a plan has places. Films are read
from their store by the chunk.
Legend: b patients · p trainable weights, in ``named_parameters`` order.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from shared.errors import PrivacyError
from shared.model.weights import trainable
from shared.sums.lattice import spacing_of
from shared.train.canaries import WithRegister
from shared.train.loss import PatientLoss
from shared.train.patients import PatientBatch, make_batches
from shared.train.rows import ROWS, Backend, choose_backend

# Of float64: a norm of a million numbers is right to a thousandth of that.
_LEAST_GAP = 2.0**-40


def clipped_sum(
    model: nn.Module,
    batch: PatientBatch,
    *,
    loss: PatientLoss,
    clip_norm: float | None,
    backend: Backend | None = None,
    chunk: int = 128,
    places: int = 0,
) -> Tensor:
    """Sum over patients of the clipped gradient, float64 [p], in steps of ``spacing_of(clip_norm)``.

    Below 2^53 such steps float64 adds like integers: the sum with a patient minus that without is that
    patient's row exactly.

    Args:
        model: works on one patient at a time; nothing in it may couple patients.
        batch: patients; none at all gives zeros.
        loss: of each patient, as a function of the model.
        clip_norm: L2 bound of each patient, above 0; None: no privacy, rows are added as they are, in
            the batch's order.
        backend: of ``rows``; None: the one that ``choose_backend`` names.
        chunk: patients computed at once, a constant of plan and device: it bounds memory, and rounding
            may depend on it.
        places: patients for whom there is work at least, a constant of the plan: above those there are,
            gradients of nobody are computed and left out.

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
    for rows in gradient_rows(model, batch, loss=loss, backend=backend, chunk=chunk, places=places):
        total += sum_clipped_rows(rows, clip_norm=clip_norm)
    return total


def gradient_rows(
    model: nn.Module,
    batch: PatientBatch,
    *,
    loss: PatientLoss,
    backend: Backend | None = None,
    chunk: int = 128,
    places: int = 0,
) -> Iterator[Tensor]:
    """The patients' gradients [b,p] before any clipping, in order; arguments as ``clipped_sum``."""
    backend = backend or choose_backend(model)
    size = 1 if backend == "loop" else chunk
    for part in make_batches(batch, size, places=places):
        rows = ROWS[backend](model, part.filled(size).with_films(), loss)[: len(part)].detach()
        yield _part_canaries(model, rows, part)


def _part_canaries(model: nn.Module, gradients: Tensor, part: PatientBatch) -> Tensor:
    """``gradients`` [b,p] with exact zeros where a canary meets the model's own weights.

    They are zero already, unless the weights are so large that 0 times their gradient is NaN.
    """
    if not isinstance(model, WithRegister):
        return gradients
    n_places = model.register.places.numel()
    is_models = torch.arange(gradients.shape[1], device=gradients.device) >= n_places
    return gradients.masked_fill((part.canary >= 0)[:, None] & is_models, 0.0)


def sum_clipped_rows(gradients: Tensor, *, clip_norm: float | None) -> Tensor:
    """Sum of the rows, float64, each scaled to at most ``clip_norm`` and truncated to its lattice.

    A row that is not finite counts as 0. The rows may be overwritten.

    Shapes: [b,p] -> [p].
    """
    if clip_norm is None:
        norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64)  # [b]
        _drop_rows(gradients, ~torch.isfinite(norms))
        return gradients.sum(dim=0, dtype=torch.float64)
    return clipped_units(gradients, clip_norm=clip_norm).sum(dim=0) * spacing_of(clip_norm)


def clipped_units(gradients: Tensor, *, clip_norm: float) -> Tensor:
    """The rows, each scaled to at most ``clip_norm``, in units of its lattice: whole numbers.

    Below 2^53 float64 adds them like integers, in any order. A row that is not finite counts as 0.
    The rows may be overwritten.

    Shapes: [b,p] -> float64 [b,p].
    """
    rows = gradients.to(torch.float64)
    norms = torch.linalg.vector_norm(rows, dim=1)  # [b]
    is_finite = torch.isfinite(norms)
    _drop_rows(rows, ~is_finite)
    # A row that is scaled down ends so far below the clip norm that rounding cannot lift it above.
    factors = (clip_norm * (1.0 - _LEAST_GAP) / norms).clamp(max=1.0) / spacing_of(clip_norm)
    factors = torch.where(is_finite, factors, torch.zeros_like(factors))
    return rows.mul_(factors[:, None]).trunc_()


def _drop_rows(gradients: Tensor, is_dropped: Tensor) -> None:
    gradients.index_fill_(0, is_dropped.nonzero()[:, 0], 0.0)  # 0 · inf would be NaN
