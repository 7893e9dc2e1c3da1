"""Ten ways to break a site's training path, each a switch that only tests can reach.

Everything else stays the real path: policy, ledger, charge, train, gate. Each breaks what its name says
and nothing more, by replacing one function where the loop or the optimizer looks it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import client.answers.answer
import shared.privacy.sampler
import shared.train.dp_optimizer
import shared.train.local_steps
import shared.train.patient_gradients
from shared.train.patients import PatientBatch

Plant = Callable[[pytest.MonkeyPatch], None]


def noise_times(factor: float) -> Plant:
    """The optimizer adds ``factor`` times the noise that was charged."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        module = shared.train.dp_optimizer
        honest = module.add_gaussian_noise

        def weakened(total: Tensor, *, noise_multiplier: float, **names: object) -> Tensor:
            if factor == 0:
                return total
            return honest(total, noise_multiplier=factor * noise_multiplier, **names)  # type: ignore[arg-type]

        patch.setattr(module, "add_gaussian_noise", weakened)

    return plant


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


def seeded_noise(patch: pytest.MonkeyPatch) -> None:
    """Every round draws its noise from the same seed."""

    class Seeded:
        def __init__(self) -> None:
            self._generator = torch.Generator().manual_seed(7)

        def __call__(self, n: int) -> Tensor:
            return torch.randn(n, generator=self._generator, dtype=torch.float64)

    patch.setattr(client.answers.answer, "NoiseStream", Seeded)


def twice_the_rate(patch: pytest.MonkeyPatch) -> None:
    """Patients are drawn twice as often as is booked."""
    module = shared.train.local_steps
    honest = module.PoissonSampler
    patch.setattr(module, "PoissonSampler", lambda rate: honest(min(1.0, 2 * rate)))


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


BUGS: Mapping[str, Plant] = {
    "no noise": noise_times(0.0),
    "half the noise": noise_times(0.5),
    "noise times 0.8": noise_times(0.8),
    "no clipping": no_clipping,
    "clipping by exam": clip_by_exam,
    "full batch booked as sampled": everybody_in_every_step,
    "shuffling booked as Poisson": shuffled_batches,
    "noise from a seed": seeded_noise,
    "twice the sample rate": twice_the_rate,
    "shape of the company": shape_of_the_company,
}


@contextmanager
def planted(bug: str | None) -> Iterator[None]:
    """The named bug is in the path inside the ``with``; None leaves it correct."""
    with pytest.MonkeyPatch.context() as patch:
        if bug is not None:
            BUGS[bug](patch)
        yield
