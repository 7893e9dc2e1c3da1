"""Patients made of random numbers and the real fusions, small enough for a backward pass each."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from torch import nn

from shared.contract.model_settings import TaskSettings
from shared.contract.settings import Settings, read_settings
from shared.exam.schema import CohortSchema
from shared.model.build import build_model
from shared.train.loss import PatientLoss, make_patient_loss
from shared.train.patients import NO_EXAM, PatientBatch

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CHANNELS, GRID = 5, 2


def read(part: str) -> dict[str, object]:
    """Settings of a shipped file, without what it chooses of other groups."""
    content: dict[str, object] = yaml.safe_load((CONFIGS / f"{part}.yaml").read_text())
    content.pop("defaults", None)
    return content


SCHEMA = CohortSchema.model_validate(read("cohort/hip_bmd"))


def practice_settings(fusion: str) -> Settings:
    return read_settings(
        {
            "experiment": "test",
            "task": read("task/bmd_regression"),
            "cohort": read("cohort/hip_bmd"),
            "encoder": {
                "name": "tiny",
                "weights": "tiny.safetensors",
                "sha256": "0" * 64,
                "token_channels": CHANNELS,
                "token_grid": GRID,
            },
            "fusion": read(f"fusion/{fusion}"),
            "privacy": read("privacy/off"),
            "strategy": {},
            "federation": {},
            "validation": {},
            "engine": {},
        }
    )


def practice_model(fusion: str = "linear", *, is_awake: bool = True) -> nn.Module:
    """A real fusion; awake, its head is no longer zero, so that every tensor has a gradient."""
    model = build_model(practice_settings(fusion), generator_seed=3)
    draw = torch.Generator().manual_seed(4)
    if is_awake:
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.2 * torch.randn(weight.shape, generator=draw)
    return model


def practice_loss() -> PatientLoss:
    task: TaskSettings = practice_settings("linear").task
    return make_patient_loss(task)


def practice_patients(n: int = 7, *, seed: int = 0, exams: int = 3, views: int = 2) -> PatientBatch:
    """Patients with 1 to ``exams`` exams of 0 to ``views`` films each and with missing fields."""
    draw = torch.Generator().manual_seed(seed)
    k = len(SCHEMA.fields)
    fields = torch.randn(n, exams, k, generator=draw)
    for column, field in enumerate(SCHEMA.fields):
        if field.kind == "category":
            drawn = torch.randint(0, len(field.categories), (n, exams), generator=draw)
            fields[..., column] = drawn.float()
    field_mask = torch.rand(n, exams, k, generator=draw) > 0.25
    n_exams = torch.randint(1, exams + 1, (n, 1), generator=draw)
    n_views = torch.randint(0, views + 1, (n, exams, 1), generator=draw)
    exam_mask = torch.arange(exams) < n_exams
    has_film = (torch.arange(views) < n_views) & exam_mask.unsqueeze(-1)  # [n,exams,views]
    exam = torch.arange(exams)[:, None].expand(exams, views)
    return PatientBatch(
        tokens=torch.randn(n, exams * views, GRID * GRID, CHANNELS, generator=draw),
        film_exam=torch.where(has_film, exam, NO_EXAM).reshape(n, -1),
        fields=torch.where(field_mask, fields, torch.zeros_like(fields)),
        field_mask=field_mask,
        target=torch.randn(n, exams, generator=draw),
        exam_mask=exam_mask,
    )


def in_double(batch: PatientBatch) -> PatientBatch:
    return PatientBatch(
        *(tensor.double() if tensor.is_floating_point() else tensor for tensor in batch.tensors())
    )
