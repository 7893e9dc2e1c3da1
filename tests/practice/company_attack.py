"""An attack on who else is there: one patient with more films than the rest, under hostile weights.

Measures how far that patient's presence moves the clipped sum, in clip norms, and how well the noised
sums of a run tell that it was there. ``python -m tests.practice.company_attack`` prints both, as the
code is and with shapes that depend on the company again (``planted``).
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from practice_patients import CHANNELS, SCHEMA, practice_loss, practice_settings
from torch import Tensor, nn

import shared.train.patient_gradients
from shared.audit.attack.company import turn_rounding_into_signal
from shared.model.build import build_model
from shared.privacy.accountant import calibrate
from shared.privacy.noise import NoiseStream, add_gaussian_noise
from shared.train.patients import PatientBatch, build_patients

CLIP_NORM, MAX_VIEWS, MAX_EXAMS = 0.5, 4, 2
GRIDS = (2, 3)
SEEDS = range(1, 9)
EPSILON, STEPS = 3.0, 10


def hostile_model(grid: int, *, seed: int = 1) -> nn.Module:
    """A cross-attention head whose weights turn rounding into signal."""
    settings = practice_settings("cross_attention")
    encoder = settings.encoder.model_copy(update={"token_grid": grid})
    model = build_model(settings.model_copy(update={"encoder": encoder}), generator_seed=3)
    turn_rounding_into_signal(model, seed=seed)
    return model


def patients_of(n: int, grid: int, *, seed: int = 0) -> PatientBatch:
    """``n`` patients with one exam of one film, and a last one with more films than the rest."""
    rng = np.random.default_rng(seed)
    n_films, k = n + MAX_VIEWS, len(SCHEMA.fields)
    fields = rng.normal(size=(n + 1, k)).astype(np.float32)
    for column, field in enumerate(SCHEMA.fields):
        if field.kind == "category":
            fields[:, column] = rng.integers(0, len(field.categories), n + 1)
    return build_patients(
        fields=fields,
        field_mask=np.ones((n + 1, k), dtype=bool),
        target=rng.normal(size=n + 1),
        patient_index=np.arange(n + 1),
        exam_films=[(row,) for row in range(n)] + [tuple(range(n, n_films))],
        film_order=range(n_films),
        exam_order=range(n + 1),
        tokens=rng.normal(size=(n_films, grid * grid, CHANNELS)).astype(np.float32),
        max_views=MAX_VIEWS,
        max_exams=MAX_EXAMS,
    )


def movement(model: nn.Module, batch: PatientBatch) -> tuple[Tensor, float]:
    """What the last patient's presence changes in the sum [p], and its length in clip norms."""

    def clipped(patients: PatientBatch) -> Tensor:
        engine = shared.train.patient_gradients
        return engine.clipped_sum(model, patients, loss=practice_loss(), clip_norm=CLIP_NORM)

    change = clipped(batch) - clipped(batch.select(range(len(batch) - 1)))
    return change, float(change.norm()) / CLIP_NORM


def membership_auc(change: Tensor, *, trials: int = 200) -> float:
    """How well a run's noised sums at ε = 3 tell with the patient from without.

    By the likelihood ratio; the sums without the patient are known to the attacker and are taken off.
    """
    noise_multiplier = calibrate(EPSILON, 1e-5, steps=STEPS)

    def score(total: Tensor) -> float:
        noised = add_gaussian_noise(
            total.expand(STEPS, -1),
            sensitivity=CLIP_NORM,
            noise_multiplier=noise_multiplier,
            draw_normals=NoiseStream(),
        )
        return float((noised @ change).sum())

    without = np.array([score(torch.zeros_like(change)) for _ in range(trials)])
    with_it = np.array([score(change) for _ in range(trials)])
    return float((with_it[:, None] > without[None, :]).mean())


def worst(grid: int, *, n: int = 127) -> tuple[Tensor, float]:
    """``movement`` under the worst of some hostile weights."""
    batch = patients_of(n, grid)
    found = [movement(hostile_model(grid, seed=seed), batch) for seed in SEEDS]
    return max(found, key=lambda each: each[1])


def main() -> None:
    """Print movement and membership AUC for each grid, without and with the planted bug."""
    from planted import planted

    torch.set_num_threads(1)
    for bug in (None, "shape of the company"):
        for grid in GRIDS:
            with planted(bug):
                change, length = worst(grid)
            sys.stdout.write(
                f"{bug or 'as it is'}, grid {grid}: the sum moves by {length:.7f} C, membership AUC at "
                f"epsilon {EPSILON:g} is {membership_auc(change):.3f}\n"
            )


if __name__ == "__main__":
    main()
