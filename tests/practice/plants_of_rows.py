"""Ways to break rows and sampling at a site, each by replacing one function where it is looked up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import shared.privacy.sampler
import shared.sums.total
import shared.train.local_steps
import shared.train.patient_gradients
from shared.model.weights import trainable
from shared.train.patients import PatientBatch


def no_clipping(patch: pytest.MonkeyPatch) -> None:
    """Gradients are added as they are."""
    module = shared.train.patient_gradients
    honest = module.sum_clipped_rows
    patch.setattr(module, "sum_clipped_rows", lambda rows, *, clip_norm: honest(rows, clip_norm=None))


def clip_by_exam(patch: pytest.MonkeyPatch) -> None:
    """Each exam is clipped on its own: a patient with four moves the sum by four clip norms."""
    module = shared.train.local_steps
    honest = module.clipped_sum

    def by_exam(model: object, batch: PatientBatch, **names: object) -> Tensor:
        totals = []
        for exam in range(batch.target.shape[1]):
            is_exam = torch.zeros_like(batch.exam_mask)
            is_exam[:, exam] = True
            one = replace(batch, exam_mask=batch.exam_mask & is_exam)
            totals.append(honest(model, one.select(one.exam_mask.any(dim=1).nonzero()[:, 0]), **names))  # type: ignore[arg-type]
        return torch.stack(totals).sum(dim=0)

    patch.setattr(module, "clipped_sum", by_exam)


def patients_unclipped(patch: pytest.MonkeyPatch) -> None:
    """Canaries, whose gradient is one number, are clipped, and patients are not."""
    module = shared.train.patient_gradients
    honest = module.sum_clipped_rows

    def spare(rows: Tensor, *, clip_norm: float | None) -> Tensor:
        if clip_norm is None:
            return honest(rows, clip_norm=None)
        is_canary = (rows != 0).sum(dim=1) == 1
        total = honest(rows[is_canary], clip_norm=clip_norm)
        return total + honest(rows[~is_canary], clip_norm=None)

    patch.setattr(module, "sum_clipped_rows", spare)


def clip_by_tensor(patch: pytest.MonkeyPatch) -> None:
    """Each tensor is clipped on its own: a patient moves a sum by √tensors clip norms."""
    engine = shared.train.patient_gradients

    def by_tensor(
        model: nn.Module, batch: PatientBatch, *, clip_norm: float | None, **names: object
    ) -> Tensor:
        sizes = [weight.numel() for _, weight in trainable(model)]
        total = torch.zeros(sum(sizes), dtype=torch.float64)
        for rows in engine.gradient_rows(model, batch, **names):  # type: ignore[arg-type]
            pieces = [piece.clone() for piece in rows.split(sizes, dim=1)]
            total += torch.cat([engine.sum_clipped_rows(each, clip_norm=clip_norm) for each in pieces])
        return total

    patch.setattr(shared.train.local_steps, "clipped_sum", by_tensor)


def clip_the_sum(patch: pytest.MonkeyPatch) -> None:
    """The sum over the batch is clipped instead of each patient (github.com/APPFL/APPFL, issue 349)."""
    module = shared.train.local_steps
    honest = module.clipped_sum

    def whole(
        model: nn.Module, batch: PatientBatch, *, clip_norm: float | None, **names: object
    ) -> Tensor:
        total = honest(model, batch, clip_norm=None, **names)  # type: ignore[arg-type]
        if clip_norm is None:
            return total
        return total * min(1.0, clip_norm / max(float(total.norm()), 1e-30))

    patch.setattr(module, "clipped_sum", whole)


def two_exams_twice(patch: pytest.MonkeyPatch) -> None:
    """A patient with two exams is in the sum twice."""
    module = shared.train.local_steps
    honest = module.clipped_sum

    def twice(model: nn.Module, batch: PatientBatch, **names: object) -> Tensor:
        has_two = (batch.exam_mask.sum(dim=1) > 1) & (batch.canary < 0)
        again = honest(model, batch.select(has_two.nonzero()[:, 0]), **names)  # type: ignore[arg-type]
        return honest(model, batch, **names) + again  # type: ignore[arg-type]

    patch.setattr(module, "clipped_sum", twice)


def everybody_in_every_step(patch: pytest.MonkeyPatch) -> None:
    """Sampling is booked and not done."""
    patch.setattr(shared.privacy.sampler.PoissonSampler, "draw_rows", lambda _, n: torch.arange(n))


def shuffled_batches(patch: pytest.MonkeyPatch) -> None:
    """Batches of equal size from a shuffled list, everybody once per pass, booked as Poisson."""
    waiting: dict[int, Tensor] = {}

    def draw_rows(self: shared.privacy.sampler.PoissonSampler, n: int) -> Tensor:
        n_parts = round(1 / self.sample_rate)
        left = waiting.get(id(self), torch.empty(0, dtype=torch.long))
        if not len(left):
            left = torch.from_numpy(np.random.default_rng().permutation(n))
        size = -(-n // n_parts)
        waiting[id(self)] = left[size:]
        return left[:size].sort().values

    patch.setattr(shared.privacy.sampler.PoissonSampler, "draw_rows", draw_rows)


def twice_the_rate(patch: pytest.MonkeyPatch) -> None:
    """Patients are drawn twice as often as is booked."""
    module = shared.train.local_steps
    honest = module.PoissonSampler
    patch.setattr(module, "PoissonSampler", lambda rate, **names: honest(min(1.0, 2 * rate), **names))


def shape_of_the_company(patch: pytest.MonkeyPatch) -> None:
    """A chunk is as long and as wide as its patients need: its rounding depends on who is in it."""
    module = shared.train.patient_gradients
    honest = module.make_batches

    def narrow(batch: PatientBatch, size: int, *, places: int = 0) -> Iterator[PatientBatch]:
        del places
        for part in honest(batch, size):
            held = int((part.film_exam >= 0).any(dim=0).sum())
            exams = max(1, int(part.exam_mask.any(dim=0).sum()))
            by_exam = ("fields", "field_mask", "target", "exam_mask")
            cut = {name: getattr(part, name)[:, :exams] for name in by_exam}
            yield replace(part, tokens=part.tokens[:, :held], film_exam=part.film_exam[:, :held], **cut)

    patch.setattr(module, "make_batches", narrow)
    patch.setattr(PatientBatch, "filled", lambda self, _: self)


def centred_on_the_batch(patch: pytest.MonkeyPatch) -> None:
    """The mean gradient of a chunk is taken off each patient's: a row tells of all others."""
    module = shared.train.patient_gradients
    honest = module.gradient_rows

    def centred(*arguments: object, **names: object) -> Iterator[Tensor]:
        for rows in honest(*arguments, **names):  # type: ignore[arg-type]
            yield rows - rows.mean(dim=0) if len(rows) else rows

    patch.setattr(module, "gradient_rows", centred)


def rows_by_frequency(patch: pytest.MonkeyPatch) -> None:
    """Rows of tables and learners are weighted by how rare they are in their chunk."""
    module = shared.sums.total
    honest = module.bound_rows

    def weighted(rows: np.ndarray, *, bound: float) -> np.ndarray:
        _, kind, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return honest(rows / count[kind.reshape(-1)][:, None], bound=bound)

    patch.setattr(module, "bound_rows", weighted)
