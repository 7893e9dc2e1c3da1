"""What one total shows of the patient behind it: the input of the last layer, solved from its change.

A linear layer with a bias changes by Σ δ·xᵀ in its weight and by Σ δ in its bias. A change, or a sum
of gradients, made from one patient is therefore that patient's features x times a number that stands
beside it. Public random patients only. Imports the plan's sum, the model and findings.

Source: Geiping et al. 2020 (arXiv 2003.14053), Prop. 3.1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta
from torch import Tensor, nn

from shared.audit.attack.variations import in_every_step, training_of, without_privacy
from shared.audit.finding import Finding, Verdict
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.settings import PlanSettings
from shared.contract.stages import GradientStage, TrainingStage
from shared.errors import AuditError
from shared.model.build import build_model
from shared.model.weights import layout
from shared.privacy.noise import NoiseStream
from shared.stages.kinds import sum_of
from shared.train.patients import PatientBatch
from shared.train.public_batch import draw_public_batch

Floats = NDArray[np.float64]

CONTROL_ERROR, DEFEATED_ERROR = 1e-3, 0.9
_DRAWS = 5  # of the noise, for each public patient
# The declared size of a site that has one patient only: so large that the weights hardly move between
# local steps, which then all add to the same direction. The attacker's best case.
_DIVISOR = 1000
_CLAIM = "One update does not show the features of a patient who is alone in it."
_BLIND_TO = (
    "Attackers who combine the updates of many rounds, and what the other layers show. Guessing zero "
    "has a relative error of 1."
)


def invert_last_layer(update: Vector, shapes: Sequence[tuple[str, list[int]]]) -> Floats:
    """Features [d] that entered the last linear layer, from an update [p] made from one patient.

    Of several outputs the one whose bias moved most is used; zeros when no bias moved.

    Args:
        update: as it leaves a site.
        shapes: name and shape of each tensor in the update's order (``shared.model.weights.layout``).

    Raises:
        AuditError: the last two tensors are not a linear layer's weight [o,d] and bias [o].
    """
    (weight_name, weight_shape), (bias_name, bias_shape) = shapes[-2:]
    layer = weight_name.removesuffix(".weight")
    if bias_name != f"{layer}.bias" or len(weight_shape) != 2 or bias_shape != weight_shape[:1]:
        raise AuditError(
            "no-linear-head",
            f"the last two tensors must be a linear layer's weight and bias, not {weight_name} "
            f"{weight_shape} and {bias_name} {bias_shape}",
        )
    outputs, width = weight_shape
    bias = update[-outputs:].astype(np.float64)
    weight = update[-outputs * (width + 1) : -outputs].astype(np.float64).reshape(outputs, width)
    row = int(np.abs(bias).argmax())
    return weight[row] / bias[row] if bias[row] else np.zeros(width)


def inversion_findings(plan: Plan, encoder_file: Path | None = None) -> list[Finding]:
    """Whether the plan's clip and noise hide a patient who is alone in an update.

    The control, one step without clip and noise, must recover the features; then one total is made as
    the plan says, with all its local steps and the patient in each of them. There the attacker is given
    the true length too, as noise in the bias ruins the length long before the direction; the plan must
    keep the error above 0.9 of what a random direction has.

    Args:
        plan: of the run.
        encoder_file: as ``build_model`` takes it.

    Raises:
        AuditError: the plan trains nothing, or its model does not end in a linear layer.
        SettingsError: an encoder learns from a file that was not given.
    """
    stage = training_of(plan)
    if not isinstance(stage, GradientStage):
        return [_sends_no_gradients(stage)]
    one_step = without_privacy(stage.model_copy(update={"local_steps": 1}))
    control = statistics.median(
        relative_error(found, true) for found, true in _inverted(plan, one_step, encoder_file, draws=1)
    )
    attacked = _inverted(plan, in_every_step(stage), encoder_file, draws=_DRAWS)
    plain = statistics.median(relative_error(found, true) for found, true in attacked)
    scaled = statistics.median(scaled_error(found, true) for found, true in attacked)
    guessed = chance_error(attacked[0][1].size)
    verdict: Verdict = "pass" if scaled > DEFEATED_ERROR * guessed else "fail"
    because = (
        f"without noise the features come back with a relative error of {control:.1e}, as the plan has "
        f"it with {scaled:.2f} at best"
    )
    if not control < CONTROL_ERROR:
        verdict = "not-run"
        because = (
            f"the attack fails without noise too: relative error {control:.2g}, so it shows nothing"
        )
    return [
        Finding(
            method="inversion",
            site="public patients",
            claim=_CLAIM,
            verdict=verdict,
            because=because,
            figures={
                "relative_error": plain,
                "relative_error_at_best_scale": scaled,
                "relative_error_of_a_guess": guessed,
                "relative_error_control": control,
                "n_draws": _DRAWS,
                "noise_multiplier": stage.noise_multiplier,
                "local_steps": stage.local_steps,
            },
            blind_to=_BLIND_TO,
        )
    ]


def _sends_no_gradients(stage: TrainingStage) -> Finding:
    return Finding(
        method="inversion",
        site="public patients",
        claim=_CLAIM,
        verdict="not-run",
        because=f"stage {stage.name} sends sums of a learner's rows, no gradients of a last layer",
        figures={},
        blind_to=_BLIND_TO,
    )


def relative_error(found: Floats, true: Floats) -> float:
    """‖found − true‖/‖true‖. Shapes: [d], [d]."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def scaled_error(found: Floats, true: Floats) -> float:
    """Relative error of ``found`` times the number that suits it best, at most 1. Shapes: [d], [d]."""
    square = float(found @ found)
    return relative_error(found * (float(found @ true) / square if square else 0.0), true)


def chance_error(width: int) -> float:
    """Median ``scaled_error`` of a random direction in ``width`` ≥ 2 dimensions."""
    return math.sqrt(1 - float(beta.median(0.5, (width - 1) / 2)))  # of the squared cosine


def _inverted(
    plan: Plan, stage: TrainingStage, encoder_file: Path | None, *, draws: int
) -> list[tuple[Floats, Floats]]:
    """Features found [d] and true [d] of every public patient, for each draw of the noise."""
    asked = sum_of(plan, stage, encoder_file=encoder_file)
    model = build_model(plan.settings, plan.settings.seed, encoder_file)
    weights, shapes = asked.start().vector, layout(model)
    pairs = []
    for patient in _lone_patients(plan.settings):
        true = _head_input(model, patient)
        for _ in range(draws):
            total = asked.answer(
                weights,
                patient,
                round_number=1,
                declared_patients=_DIVISOR,
                draw_normals=NoiseStream(),
            )
            pairs.append((invert_last_layer(total, shapes), true))
    return pairs


def _lone_patients(settings: PlanSettings) -> list[PatientBatch]:
    """Public patients one by one, with one exam each: only then is an update δ·xᵀ of a single x."""
    batch = draw_public_batch(settings)
    is_first = torch.zeros_like(batch.exam_mask)
    is_first[:, 0] = True
    alone = replace(batch, exam_mask=is_first)
    return [alone.select([row]) for row in range(len(alone))]


def _head_input(model: nn.Module, patient: PatientBatch) -> Floats:
    """What entered the last linear layer for the patient's first exam, [d]."""
    seen: list[Tensor] = []
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    handle = head.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0][0, 0]))
    with torch.no_grad():
        model(patient.tokens, patient.film_exam, patient.fields, patient.field_mask)
    handle.remove()
    return seen[0].double().numpy()
