"""Patients that nobody is: random tokens or films and values under a run's settings, to try a model on.

Owns the probe that runs before any patient is touched: every field, category, missing value and view
occurs in it. Imports the batch, the validator and the model.
"""

from __future__ import annotations

from pathlib import Path

import torch

from shared.contract.model_settings import ModelSettings
from shared.contract.settings import AnySettings
from shared.model.build import build_model
from shared.train.device import one_thread
from shared.train.loss import make_patient_loss
from shared.train.patients import NO_EXAM, PatientBatch
from shared.train.validator import validate_model

_PATIENTS = 6


def validate_settings_model(settings: AnySettings, *, encoder_file: Path | None = None) -> None:
    """Refuse a model that cannot be trained with one gradient per patient.

    Args:
        settings: of the run.
        encoder_file: as ``build_model`` takes it.

    Raises:
        PrivacyError: batch normalisation, active dropout, or a trainable tensor that does not learn.
    """
    model = build_model(settings, generator_seed=settings.seed, encoder_file=encoder_file)
    with one_thread():
        validate_model(model, draw_public_batch(settings), loss=make_patient_loss(settings.task))


def draw_public_batch(settings: AnySettings) -> PatientBatch:
    """Random patients of the plan's shape; the same for the same settings."""
    generator = torch.Generator().manual_seed(0)
    fields, caps = settings.cohort.fields, settings.caps
    n_columns = settings.features.layout.film_width
    n_exams = caps.max_exams
    n_slots = caps.max_views if settings.encoder.token_channels or n_columns else 0
    shape = (_PATIENTS, n_exams)
    rows = torch.arange(_PATIENTS)[:, None].expand(shape)
    columns = torch.zeros(*shape, len(fields))
    for place, field in enumerate(fields):
        columns[..., place] = (
            (rows + torch.arange(n_exams)).remainder(len(field.categories)).float()
            if field.kind == "category"
            else torch.randn(shape, generator=generator)
        )
    # Each field is missing in one patient of six, never all of them at once.
    mask = (rows[..., None] + torch.arange(len(fields))).remainder(_PATIENTS) != 0
    target = torch.randn(shape, generator=generator)
    if settings.task.kind != "regression":
        label = settings.cohort.label
        n_classes = 1 if label.kind == "number" else len(label.classes)
        target = rows.remainder(n_classes).float()
    film_exam = (torch.arange(n_slots) % n_exams).repeat(_PATIENTS, 1)
    film_exam[1::3, n_exams:] = NO_EXAM
    return PatientBatch(
        tokens=draw_images(settings, (_PATIENTS, n_slots), generator),
        film_exam=film_exam,
        fields=columns * mask,
        field_mask=mask,
        target=target,
        exam_mask=torch.ones(shape, dtype=torch.bool),
        film_columns=torch.randn(_PATIENTS, n_slots, n_columns, generator=generator),
    )


def draw_images(
    settings: ModelSettings, shape: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """Random tokens [*shape,t,c], or films [*shape,h,w] in [0,1] where the encoder learns."""
    encoder, pixels = settings.encoder, settings.cohort.image_pixels
    if encoder.training == "frozen":
        blocks = (encoder.token_grid**2, encoder.token_channels)
        return torch.randn(*shape, *blocks, generator=generator)
    return torch.rand(*shape, pixels, pixels, generator=generator)
