"""A site whose films are random numbers and whose labels are noise: easy to learn by heart, fast."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from practice_patients import SCHEMA, read
from practice_plan import plan_of

from shared.contract.plan import Plan
from shared.contract.settings import read_settings
from shared.privacy.accountant import calibrate
from shared.train.patients import PatientBatch


def attacked_plan(
    n_channels: int,
    sites: Mapping[str, int],
    *,
    epsilon: float | None,
    rounds: int = 2,
    local_steps: int = 15,
) -> Plan:
    """The plan of a linear head on one image token of ``n_channels``, at sites by declared size."""
    noise = 0.0
    if epsilon is not None:
        noise = calibrate(epsilon, 1e-5, steps=rounds * local_steps)
    settings = read_settings(
        {
            "experiment": "test",
            "task": read("task/bmd_regression"),
            "cohort": read("cohort/hip_bmd"),
            "encoder": {
                "name": "tiny",
                "weights": "tiny.safetensors",
                "sha256": "0" * 64,
                "token_channels": n_channels,
                "token_grid": 1,
            },
            "fusion": read("fusion/image_only"),
            "privacy": read("privacy/off" if epsilon is None else "privacy/patient_dp")
            | {"epsilon": epsilon, "noise_multiplier": noise, "update_norm_max": 1e6},
            "strategy": {},
            "federation": {"rounds": rounds, "local_steps": local_steps, "learning_rate": 0.3},
            "validation": {},
            "engine": {},
        }
    )
    return plan_of(settings, sites)


def random_patients(n: int, n_channels: int, *, seed: int) -> PatientBatch:
    """Patients with one exam, one film of one random token, and a label that it says nothing about."""
    draw = torch.Generator().manual_seed(seed)
    k = len(SCHEMA.fields)
    return PatientBatch(
        tokens=torch.randn(n, 1, 1, n_channels, generator=draw),
        film_exam=torch.zeros(n, 1, dtype=torch.int64),
        fields=torch.zeros(n, 1, k),
        field_mask=torch.zeros(n, 1, k, dtype=torch.bool),
        target=torch.randn(n, 1, generator=draw),
        exam_mask=torch.ones(n, 1, dtype=torch.bool),
    )
