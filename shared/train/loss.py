"""What an error costs: one loss per exam, one per patient, no coupling between patients.

Owns the explicit exam weight of regression and its normalisation over a *public* reference, so that
no statistic of a cohort enters. Legend: b patients, an axis that may be left out · u exams of one
patient · o outputs. Imports settings and ``PatientBatch``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shared.contract.model_settings import RegressionTask, TaskSettings
from shared.train.patients import PatientBatch

ModelFunction = Callable[..., Tensor]
PatientLoss = Callable[[ModelFunction, PatientBatch], Tensor]


def exam_loss(output: Tensor, target: Tensor, task: TaskSettings) -> Tensor:
    """Loss of each exam.

    Regression: w(y)·smooth-L1(output, target) on the standardised target. Classification:
    cross-entropy with the class index. Survival: the negative log-likelihood of the intervals at risk,
    whose outputs are log-likelihoods already (``shared.model.hazards``).

    Shapes: output [b,u,o], target [b,u] -> [b,u].
    """
    if task.kind != "regression":
        logs = output if task.kind == "survival" else functional.log_softmax(output, dim=-1)
        index = target.to(torch.long).unsqueeze(-1)
        return -logs.gather(-1, index).squeeze(-1)
    error = functional.smooth_l1_loss(
        output.squeeze(-1), target, beta=task.smooth_l1_beta, reduction="none"
    )
    return exam_weight(target, task) * error


def exam_weight(target: Tensor, task: RegressionTask) -> Tensor:
    """w = (1 + a·sigmoid((t − y)/s)) / mean, heavier below the threshold t; y = mean + sd·target.

    Source: the threshold-weighted smooth-L1 of XAttn-BMD (arXiv 2511.14604), made explicit.
    """
    value = task.target_mean + task.target_sd * target
    raw = 1.0 + task.loss_emphasis * torch.sigmoid((task.loss_threshold - value) / task.loss_scale)
    return raw / mean_weight(task)


def mean_weight(task: RegressionTask) -> float:
    """Mean of the raw weight over the public reference N(target_mean, target_sd²)."""
    return _mean_weight(
        task.target_mean,
        task.target_sd,
        task.loss_threshold,
        task.loss_emphasis,
        task.loss_scale,
    )


@functools.lru_cache(maxsize=64)
def _mean_weight(mean: float, sd: float, threshold: float, emphasis: float, scale: float) -> float:
    # Trapezoid over ±10 SD: exact to 1e-12 for a smooth integrand that vanishes at both ends.
    z = np.linspace(-10.0, 10.0, 20_001)
    density = np.exp(-0.5 * z**2)
    share = 0.5 * (1.0 + np.tanh(0.5 * (threshold - mean - sd * z) / scale))  # sigmoid
    return float(1.0 + emphasis * np.sum(share * density) / np.sum(density))


def patient_loss(model: ModelFunction, patients: PatientBatch, *, task: TaskSettings) -> Tensor:
    """Mean loss over each patient's labelled exams; 0 when there is none.

    Args:
        model: the model as a function of tokens, film_exam, fields and field_mask.
        patients: some, or one without the b axis (``PatientBatch.patient``).

    Shapes: -> [b], or [] for one patient.
    """
    output = model(patients.tokens, patients.film_exam, patients.fields, patients.field_mask)  # [b,u,o]
    counts = patients.exam_mask.to(output.dtype)
    losses = exam_loss(output, patients.target, task)  # [b,u]
    return (losses * counts).sum(dim=-1) / counts.sum(dim=-1).clamp(min=1.0)


def make_patient_loss(task: TaskSettings) -> PatientLoss:
    """``patient_loss`` of a task, as the patient-gradient engine takes it."""
    return functools.partial(patient_loss, task=task)
