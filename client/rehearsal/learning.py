"""Whether a plan's steps, clip and noise can learn anything at a site of this size: tried on nobody.

Random people with a planted relation between number fields and target train as the plan says. Imports
training in memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from shared.audit.attack.rehearsal import draw_patients
from shared.contract.decision import decision_of
from shared.contract.model_settings import ModelSettings
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage, TrainingStage
from shared.model.build import build_model
from shared.model.weights import load_flat
from shared.stages.in_memory import rounds_in_memory
from shared.stages.scores import scorer_of
from shared.train.device import one_thread
from shared.train.loss import make_patient_loss
from shared.train.patients import PatientBatch

# Of the planted target's variance; the rest is noise, so that a perfect model keeps a loss.
_EXPLAINED = 0.8
_PLANTED_FIELDS = 3
_FRESH_PATIENTS = 100
_LONGEST_TRIAL_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Mean loss of fresh public people before and after training on public people.

    Of gradients the plan's loss; of a learner the squared error, and before it the target's variance.
    """

    loss_before: float
    loss_after: float
    rounds: int
    planned_rounds: int

    @property
    def falls(self) -> bool:
        """Whether training helped."""
        return self.loss_after < self.loss_before


def try_learning(
    plan: Plan,
    stage: TrainingStage,
    *,
    site: str,
    file: Path | None,
    longest_s: float = _LONGEST_TRIAL_S,
) -> Trial:
    """Whether this plan's steps, clip and noise bring the loss down for one of its sites alone.

    A federation averages the noise of its sites, so what falls here falls there faster.

    Args:
        plan: gives the model, and how many patients the site declares in public.
        stage: that trains.
        site: on the roster.
        file: the encoder, where the model needs it.
        longest_s: no round begins later.
    """
    settings, n_patients = plan.settings, plan.entry(site).declared_patients
    batch = plant_relation(draw_patients(settings, n_patients, seed=1), settings, seed=2)
    fresh = plant_relation(draw_patients(settings, _FRESH_PATIENTS, seed=3), settings, seed=4)
    rounds = rounds_in_memory(plan, stage, {site: batch}, encoder_file=file)
    first = last = next(rounds)
    began = time.monotonic()
    has_losses = isinstance(stage, GradientStage)
    # What a learner says is read off its last state only, so its few sums are all added.
    while last.round < stage.rounds and (not has_losses or time.monotonic() - began < longest_s):
        last = next(rounds)
    if has_losses:
        before = mean_loss(settings, fresh, first.vector, file=file)
        after = mean_loss(settings, fresh, last.vector, file=file)
    else:
        before, after = _variance_and_error(plan, stage, fresh, last.vector)
    return Trial(loss_before=before, loss_after=after, rounds=last.round, planned_rounds=stage.rounds)


def plant_relation(batch: PatientBatch, settings: ModelSettings, *, seed: int) -> PatientBatch:
    """The same people with targets that follow from their first number fields, and noise."""
    generator = torch.Generator().manual_seed(seed)
    numbers = [place for place, field in enumerate(settings.cohort.fields) if field.kind == "number"][
        :_PLANTED_FIELDS
    ]
    signal = (batch.fields * batch.field_mask)[..., numbers].sum(dim=-1) / max(1, len(numbers)) ** 0.5
    noise = torch.randn(signal.shape, generator=generator)
    target = _EXPLAINED**0.5 * signal + (1 - _EXPLAINED) ** 0.5 * noise  # [b,u], SD about 1
    if settings.task.kind != "regression":
        label = settings.cohort.label
        n_classes = 1 if label.kind == "number" else len(label.classes)
        ends = torch.special.ndtri(torch.arange(1, n_classes) / n_classes)
        target = torch.bucketize(target, ends).float()
    return replace(batch, target=target)


def _variance_and_error(
    plan: Plan, stage: TrainingStage, people: PatientBatch, state: Vector
) -> tuple[float, float]:
    """Variance of the target and mean squared error of a last state, in standard units."""
    task, decision = plan.settings.task, decision_of(plan.settings)
    scored = scorer_of(plan, stage, None).score(state, people).earliest()
    output, label = decision.score(scored.outputs), scored.label
    unit = 1.0
    if task.kind == "regression":
        unit = task.target_sd
    else:
        label = decision.is_positive(label).astype(np.float64)
    return float(label.var()) / unit**2, float(np.mean((output - label) ** 2)) / unit**2


def mean_loss(
    settings: ModelSettings, batch: PatientBatch, weights: Vector, *, file: Path | None
) -> float:
    """Mean over patients of the plan's loss."""
    model = build_model(settings, generator_seed=settings.seed, encoder_file=file)
    load_flat(model, weights)
    loss = make_patient_loss(settings.task)
    with torch.no_grad(), one_thread():
        values = [
            float(loss(model, batch.select([row]).with_films().patient(0))) for row in range(len(batch))
        ]
    return float(np.mean(values))
