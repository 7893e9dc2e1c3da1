"""How far maps of single films can be trusted: the fit of LIME, and whether maps come out alike again.

Of some exams of simulated hospitals, by what a hospital reads one patient with. LIME is fitted over two
sets of masks; Grad-CAM, which draws nothing, is made again of the film with a little noise, and is set
beside LIME's cells that speak for the endpoint. Imports the sites' films and readings.
Legend: v views · h w pixels · k cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from client.cohort.patients import load_split
from client.cohort.tokens import load_films
from client.reading import lime
from client.reading.asking import Asked, ask_exam
from client.reading.grad_cam import grad_cam
from client.site.folder import open_site
from server.encoders.file import encoder_files
from server.simulation.arms import Trained
from server.simulation.cohorts import TakenIn
from server.simulation.comparison import Floats
from shared.contract.decision import decision_of
from shared.contract.release import Release, ReleaseRecord
from shared.errors import IntakeError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.signing.canonical import hash_file

LIME_FIT, LIME_STABILITY, LIME_RELIABLE = "LIME, fit R²", "LIME, stability", "LIME, reliable films"
CAM_STABILITY, CAM_LIME = "Grad-CAM, stability", "Grad-CAM beside LIME"
FIGURES = (LIME_FIT, LIME_STABILITY, LIME_RELIABLE, CAM_STABILITY, CAM_LIME)
# Of a film's range from 0 to 1: what is hardly seen
FILM_NOISE = 0.01
STABILITY_LIMIT = lime.STABILITY_LIMIT
_SEED = 20_263  # of that noise, which protects nobody
_NO_HASH = "0" * 64


def measure_maps(
    trained: Trained, cohorts: TakenIn, names: Sequence[str], *, n_exams: int
) -> dict[str, Floats]:
    """Values by figure, one for each film; of Grad-CAM none where there is no such map.

    Args:
        trained: a model that reads films.
        cohorts: whose encoders are at the hospitals, as ``TakenIn.wards`` leaves them.
        names: of hospitals.
        n_exams: of each hospital, the first of its cohort.
    """
    release = _as_release(trained)
    films: dict[str, list[float]] = {name: [] for name in FIGURES}
    for name in names:
        for stack, clinical in _exams(trained, cohorts, name, n_exams):
            asked = ask_exam(release, stack, clinical, masks=[None] * len(stack))
            for view in range(len(stack)):
                for figure, value in _of_film(release, asked, stack, view, clinical).items():
                    films[figure].append(value)
    return {name: np.array(values) for name, values in films.items()}


def _of_film(
    release: Release, asked: Asked, stack: Tensor, view: int, clinical: tuple[Tensor, Tensor]
) -> Mapping[str, float]:
    sign = -1.0 if release.record.decision.is_low_positive else 1.0
    found = lime.explain(stack, view, lambda films: sign * asked.score_of(films))
    values = {
        LIME_FIT: found.r2,
        LIME_STABILITY: found.stability,
        LIME_RELIABLE: float(found.is_reliable),
    }
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(stack[view].shape, generator=generator)
    again = stack.clone()
    again[view] = (again[view] + FILM_NOISE * noise).clamp(0.0, 1.0)
    try:
        own, other = (
            _cells_of(grad_cam(release, each, asked.outputs_of_tokens, clinical)[view])
            for each in (stack, again)
        )
    except IntakeError:  # a transformer, columns of films, or a score that moves by steps
        return values
    speaks_for = np.maximum(found.weights.ravel(), 0.0)
    return values | {
        CAM_STABILITY: lime.agreement(own, other),
        CAM_LIME: lime.agreement(own, speaks_for),
    }


def _cells_of(heat: np.ndarray) -> Floats:
    """The mean of a map [h,w] over each of LIME's cells [k]."""
    cells = lime.cells_of(heat.shape).ravel()
    n = lime.CELLS**2
    found: Floats = np.bincount(cells, heat.ravel(), minlength=n) / np.bincount(cells, minlength=n)
    return found


def _exams(
    trained: Trained, cohorts: TakenIn, name: str, n_exams: int
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Films [v,h,w] and standardised fields with their mask [1,1,k] of a hospital's first exams."""
    site = open_site(cohorts.folders.site(name).resolve())
    data = load_split(site, trained.plan, name=trained.plan.settings.cohort.name, split=None)
    films, arrays = load_films(data.cohort), data.arrays
    held = [place for place, rows in enumerate(arrays.exam_films) if len(rows)]
    for place in held[:n_exams]:
        stack = films[list(arrays.exam_films[place])].float()
        fields, mask = arrays.fields[place], arrays.field_mask[place]
        yield stack, (torch.from_numpy(fields)[None, None], torch.from_numpy(mask)[None, None])


def _as_release(trained: Trained) -> Release:
    """What was trained, as a release is read; nobody has signed it."""
    plan, files = trained.plan, encoder_files(trained.plan.settings)
    record = ReleaseRecord(
        run=plan.run,
        plan_sha256=plan.sha256,
        weights_sha256=_NO_HASH,
        layout_sha256=plan.layout_sha256,
        encoder_sha256=plan.encoder_sha256,
        preprocessing=PREPROCESSING_VERSION,
        decision=decision_of(plan.settings),
        code_sha256=_NO_HASH,
        ledger_heads={},
        rounds=1,
    )
    return Release(record, plan, trained.weights, {hash_file(path): path for path in files})
