"""One round's update from settings, weights and patients: what a site does between charge and gate.

Also reads a release on patients. Both are used by sites and by the published figures, so that what is
measured is what runs. Imports the model, the loop and the noise.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import SettingsError
from shared.model.build import build_model
from shared.model.weights import load_flat
from shared.settings import Settings
from shared.train.canaries import AuditRegister
from shared.train.device import choose_device, one_thread
from shared.train.loop import train_round
from shared.train.loss import make_patient_loss
from shared.train.noise import NoiseStream
from shared.train.patients import PatientBatch

Floats = NDArray[np.float64]
Weights = np.ndarray[tuple[int], np.dtype[np.float32] | np.dtype[np.float64]]


def train_update(
    settings: Settings,
    batch: PatientBatch,
    weights: Weights,
    *,
    divisor: int,
    register: AuditRegister | None = None,
) -> Weights:
    """The bounded update [p] of one round from ``weights`` [p] on every patient of ``batch``.

    Args:
        settings: resolved as in a plan: noise multiplier, learning rate, steps, bound.
        batch: the whole training split.
        weights: the round's starting weights.
        divisor: B, the size that the site declared publicly.
        register: takes the noised sums of an audit's canaries.
    """
    privacy, federation, strategy = settings.privacy, settings.federation, settings.strategy
    device = choose_device(settings.device)
    model = build_model(settings, generator_seed=settings.seed)
    load_flat(model, weights)
    with one_thread():
        return train_round(
            model.to(device),
            batch.to(device),
            loss=make_patient_loss(settings.task),
            steps=int(federation.local_steps or 0),
            learning_rate=float(federation.learning_rate or 0.0),
            clip_norm=privacy.clip_norm if privacy.mode == "patient_dp" else None,
            noise_multiplier=float(privacy.noise_multiplier or 0.0),
            divisor=divisor * privacy.sample_rate,
            sample_rate=privacy.sample_rate,
            update_norm_max=float(privacy.update_norm_max or 0.0),
            proximal_mu=strategy.proximal_mu if strategy.name == "fedprox" else 0.0,
            draw_normals=NoiseStream(),
            register=register,
        )


def score_patients(settings: Settings, batch: PatientBatch, weights: Weights) -> tuple[Floats, Floats]:
    """One output and one label per patient, of the earliest labelled exam that kept a film.

    Args:
        settings: name architecture and task.
        batch: labelled patients.
        weights: trainable weights [p].

    Returns:
        Outputs [n]: the predicted target, or the positive class's probability; labels [n]: the target
        in its own unit, or the class index.
    """
    task = settings.task
    device = choose_device(settings.device)
    model = build_model(settings, generator_seed=settings.seed)
    load_flat(model, weights)
    model = model.to(device).eval()
    # A patient whose labelled exams all lost their films to the cap on views has nothing to score.
    scorable = batch.exam_mask.any(dim=1).nonzero()[:, 0]
    chosen = batch.select(scorable).to(device)
    first = chosen.exam_mask.int().argmax(dim=1)  # [n]
    rows = torch.arange(len(chosen), device=device)
    with torch.no_grad():
        output = model(
            chosen.tokens[rows, first],
            chosen.view_mask[rows, first],
            chosen.fields[rows, first],
            chosen.field_mask[rows, first],
        ).double()
    label = chosen.target[rows, first].double()
    if task.kind == "regression":
        output = task.target_mean + task.target_sd * output[:, 0]
        label = task.target_mean + task.target_sd * label
    else:
        output = torch.softmax(output, dim=1)[:, positive_index(settings)]
    return output.cpu().numpy(), label.cpu().numpy()


def positive_index(settings: Settings) -> int:
    """Index of the positive class among the label's classes.

    Raises:
        SettingsError: the label has no such class.
    """
    label, wanted = settings.cohort.label, settings.task.positive_class
    classes = () if label.kind == "number" else label.classes
    if wanted not in classes:
        raise SettingsError(
            "unknown-class", f"task.positive_class must be one of {list(classes)}, not {wanted}"
        )
    return classes.index(str(wanted))
