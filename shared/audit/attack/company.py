"""Does one patient move a sum by one row, whoever else is there? Tried on the installed code, by force.

Weights are those that a hostile coordinator would send: attention's values are 1e7 in every channel and
its output rows sum to 1, so that what LayerNorm sees differs between channels by rounding alone, and
LayerNorm makes that as large as a signal. Where rounding depends on the company, on padding or on the
place in a batch, one more patient then turns everybody's gradient. Public random patients only. Imports
the gradient engine, the model and findings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from shared.audit.finding import Finding
from shared.contract.model_settings import ModelSettings
from shared.contract.plan import Plan
from shared.contract.settings import AnySettings
from shared.model.attention import Attention
from shared.model.build import build_model
from shared.model.fusion import CrossAttentionFusion
from shared.model.weights import trainable
from shared.sums.lattice import spacing_of
from shared.train.device import one_thread, repeatable
from shared.train.loss import make_patient_loss
from shared.train.patient_gradients import clipped_sum
from shared.train.patients import NO_EXAM, PatientBatch
from shared.train.public_batch import draw_public_batch

CLAIM = "A patient moves a sum by one row of at most the clip norm, whoever else is there."
_LOUD, _QUIET, _HEAD = 1e7, 1e-4, 5.0
_SEEDS = (1, 2, 3)
_COPIES = 2  # of the public patients; an encoder takes its time and gets one
_BLIND_TO = (
    "Other weights and patients than these, and another processor or GPU than this one's. It tries the "
    "code that is installed here; that a hospital runs the same is said by its signature alone."
)


def company_findings(plan: Plan, encoder_file: Path | None = None) -> list[Finding]:
    """Whether sums with and without each of some public patients differ by that patient's row exactly.

    Args:
        plan: of the run; nothing is found where it trains nothing by gradients or promises nothing.
        encoder_file: as ``build_model`` takes it.
    """
    stage, settings = plan.training, plan.settings
    if stage is None or not stage.is_private:
        return []
    clip_norm, batch = stage.clip_norm, unequal_patients(settings)
    moved, n_differ, n_tried = 0.0, 0, 0
    for seed in _SEEDS:
        model = build_model(settings, settings.seed, encoder_file)
        turn_rounding_into_signal(model, seed=seed)
        with one_thread(), repeatable():
            longest, differ = movements(model, batch, settings, clip_norm=clip_norm)
        moved, n_differ, n_tried = max(moved, longest), n_differ + differ, n_tried + len(batch)
    is_refuted = n_differ > 0 or moved > 1.0
    return [
        Finding(
            method="conformance",
            site="installed code",
            claim=CLAIM,
            verdict="fail" if is_refuted else "pass",
            because=f"{n_differ} of {n_tried} public patients move a sum by something else than their "
            f"row, at most by {moved:.7f} clip norms, under weights that turn rounding into signal",
            figures={"patients": n_tried, "patients_differ": n_differ, "moved_clip_norms": moved},
            blind_to=f"A clip norm of {clip_norm:g} is tried and no noise. {_BLIND_TO}",
        )
    ]


def movements(
    model: nn.Module, batch: PatientBatch, settings: ModelSettings, *, clip_norm: float
) -> tuple[float, int]:
    """The longest way that leaving one patient out moves the sum, and for how many it is not their row.

    The way is in clip norms.
    """
    loss = make_patient_loss(settings.task)

    def total(rows: list[int]) -> Tensor:
        found = clipped_sum(model, batch.select(rows), loss=loss, clip_norm=clip_norm)
        return (found / spacing_of(clip_norm)).round().to(torch.int64)

    everybody = list(range(len(batch)))
    together, longest, n_differ = total(everybody), 0.0, 0
    for patient in everybody:
        moved = together - total([other for other in everybody if other != patient])
        n_differ += int(not torch.equal(moved, total([patient])))
        longest = max(longest, float(moved.double().norm()) * spacing_of(clip_norm) / clip_norm)
    return longest, n_differ


def unequal_patients(settings: AnySettings) -> PatientBatch:
    """Public patients of one exam with one film, and a last one with all that the plan allows."""
    public = draw_public_batch(settings)
    copies = _COPIES if settings.encoder.training == "frozen" else 1
    batch = public.select(list(range(len(public))) * copies)
    film_exam, exam_mask = batch.film_exam.clone(), batch.exam_mask.clone()
    film_exam[:-1, 1:] = NO_EXAM
    exam_mask[:-1, 1:] = False
    return replace(batch, film_exam=film_exam, exam_mask=exam_mask)


def turn_rounding_into_signal(model: nn.Module, *, seed: int) -> None:
    """Give ``model`` weights, drawn from ``seed``, under which a patient's rounding shows.

    A model without attention gets random ones.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight.add_(torch.randn(weight.shape, generator=draw), alpha=0.2)
        for part in model.modules():
            if isinstance(part, CrossAttentionFusion):
                for quiet in (part.project.weight, part.project.bias, part.clinical.embed.weight):
                    quiet *= _QUIET
                part.head.weight *= _HEAD
            if isinstance(part, Attention):
                part.value.weight.zero_()
                part.value.bias.fill_(_LOUD)
                rows = torch.rand(part.out.weight.shape, generator=draw)
                part.out.weight.copy_(rows / rows.sum(dim=1, keepdim=True))
                part.out.bias.zero_()
