"""An attack on who else is there: weights under which rounding is as large as a patient.

Attention's values are 1e6 in every channel, its output rows sum to 1, and tokens are small:
what LayerNorm sees differs between channels by rounding alone, and LayerNorm makes that as large as a
signal. Where a patient's rounding depends on the company, one more patient turns everybody's gradient.

Measure: ``python -m tests.practice.company_attack`` from the root of any checkout that has this file;
``PYTHONPATH`` says whose code is attacked.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import inspect

import numpy as np
import torch
from practice_patients import CHANNELS, SCHEMA, practice_loss, practice_settings
from torch import Tensor, nn

from shared.model.attention import Attention
from shared.model.build import build_model
from shared.privacy.accountant import calibrate
from shared.privacy.noise import NoiseStream, add_gaussian_noise
from shared.train.patient_gradients import clipped_sum
from shared.train.patients import PatientBatch, build_patients

CLIP_NORM = 0.5
GRIDS = (2, 3)
MAX_VIEWS = 4
_LOUD, _QUIET, _HEAD = 1e6, 1e-4, 5.0


def hostile_model(grid: int, *, seed: int = 1) -> nn.Module:
    """A cross-attention head whose weights turn rounding into signal."""
    settings = practice_settings("cross_attention")
    encoder = settings.encoder.model_copy(update={"token_grid": grid})
    model = build_model(settings.model_copy(update={"encoder": encoder}), generator_seed=3)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=draw)
        for quiet in (model.project.weight, model.project.bias, model.clinical.embed.weight):
            quiet *= _QUIET
        model.positions *= _QUIET
        model.head.weight *= _HEAD
        for part in model.modules():
            if isinstance(part, Attention):
                part.value.weight.zero_()
                part.value.bias.fill_(_LOUD)
                rows = torch.rand(part.out.weight.shape, generator=draw)
                part.out.weight.copy_(rows / rows.sum(dim=1, keepdim=True))
                part.out.bias.zero_()
    return model


def patients_of(n: int, grid: int, *, seed: int = 0) -> PatientBatch:
    """``n`` patients with one exam of one film, and a last one with more films than the rest."""
    rng = np.random.default_rng(seed)
    exam_films = [(row,) for row in range(n)] + [tuple(range(n, n + MAX_VIEWS))]
    n_films, k = n + MAX_VIEWS, len(SCHEMA.fields)
    fields = rng.normal(size=(n + 1, k)).astype(np.float32)
    for column, field in enumerate(SCHEMA.fields):
        if field.kind == "category":
            fields[:, column] = rng.integers(0, len(field.categories), n + 1)
    names: dict[str, object] = {"max_views": MAX_VIEWS}
    if "max_exams" in inspect.signature(build_patients).parameters:
        names |= {"max_exams": 2, "exam_order": range(n + 1)}
    return build_patients(
        fields=fields,
        field_mask=np.ones((n + 1, k), dtype=bool),
        target=rng.normal(size=n + 1),
        patient_index=np.arange(n + 1),
        exam_films=exam_films,
        film_order=range(n_films),
        tokens=rng.normal(size=(n_films, grid * grid, CHANNELS)).astype(np.float32),
        **names,  # type: ignore[arg-type]
    )


def clipped(model: nn.Module, batch: PatientBatch) -> Tensor:
    """The sum that is noised, float64 [p]."""
    return clipped_sum(model, batch, loss=practice_loss(), clip_norm=CLIP_NORM)


def movement(model: nn.Module, batch: PatientBatch) -> tuple[Tensor, float]:
    """What the last patient's presence changes in the sum [p], and its length in clip norms."""
    everybody = clipped(model, batch)
    change = everybody - clipped(model, batch.select(range(len(batch) - 1)))
    return change, float(change.norm()) / CLIP_NORM


def membership_auc(change: Tensor, *, epsilon: float, steps: int, trials: int = 200) -> float:
    """How well noised sums of a whole run tell with from without, by the likelihood ratio.

    The sums without the patient are known to the attacker and are taken off.
    """
    noise_multiplier = calibrate(epsilon, 1e-5, steps=steps)
    scores = []
    for total in (torch.zeros_like(change), change):
        scores.append(
            [
                sum(
                    float(
                        add_gaussian_noise(
                            total,
                            sensitivity=CLIP_NORM,
                            noise_multiplier=noise_multiplier,
                            draw_normals=NoiseStream(),
                        )
                        @ change
                    )
                    for _ in range(steps)
                )
                for _ in range(trials)
            ]
        )
    without, with_it = np.array(scores)
    return float((with_it[:, None] > without[None, :]).mean())


def main() -> None:
    """Print movement and membership AUC of the worst of some hostile weights, for each grid."""
    torch.set_num_threads(1)
    for grid in GRIDS:
        batch = patients_of(127, grid)
        found = [movement(hostile_model(grid, seed=seed), batch) for seed in range(1, 9)]
        change, length = max(found, key=lambda each: each[1])
        auc = membership_auc(change, epsilon=3.0, steps=10)
        sys.stdout.write(f"grid {grid}: moved by {length:.9f} C, AUC at epsilon 3: {auc:.3f}\n")


if __name__ == "__main__":
    main()
