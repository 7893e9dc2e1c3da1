"""Maps of simulated films: LIME of a model that reads a place, Grad-CAM where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from client.reading.asking import Asked
from server.federation.compose import compose_settings
from server.simulation import film_maps
from server.simulation.arms import Trained, plan_arm, untrained
from server.simulation.film_maps import (
    CAM_LIME,
    CAM_STABILITY,
    FIGURES,
    LIME_FIT,
    LIME_RELIABLE,
    LIME_STABILITY,
    measure_maps,
)
from shared.errors import IntakeError

N = 32  # pixels of a film's edge


def bright(films: torch.Tensor) -> torch.Tensor:
    """The upper left quarter of each first view [n]: what is hidden there lowers it."""
    return films[:, 0, : N // 2, : N // 2].mean(dim=(1, 2)).double()


@pytest.fixture
def hospital(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two films in one exam of each of two hospitals, bright at upper left; a score that reads it."""
    film = 0.2 * torch.rand(2, N, N, generator=torch.Generator().manual_seed(1))
    film[:, : N // 2, : N // 2] += 0.6
    held = SimpleNamespace(low=False, score=bright, heat=lambda stack: _quarter(stack))

    def exams(*_: object) -> Iterator[tuple[torch.Tensor, None]]:
        yield film, None

    monkeypatch.setattr(film_maps, "_exams", exams)
    decision = SimpleNamespace(decision=SimpleNamespace(is_low_positive=False))
    held.decision = decision.decision
    monkeypatch.setattr(film_maps, "_as_release", lambda _: SimpleNamespace(record=decision))
    none = dict.fromkeys(("seen_by_model", "outputs_of", "outputs_of_tokens"), lambda films: films)
    monkeypatch.setattr(
        film_maps, "ask_exam", lambda *_, **__: Asked(**none, score_of=lambda f: held.score(f))
    )
    monkeypatch.setattr(film_maps, "grad_cam", lambda _, stack, *__: held.heat(stack))
    return held


def _quarter(stack: torch.Tensor) -> tuple[np.ndarray, ...]:
    """A map that speaks for what is bright."""
    return tuple(np.where(film.numpy() > 0.4, film.numpy(), 0.0) for film in stack)


def measure() -> dict[str, np.ndarray]:
    return measure_maps(Trained(np.zeros(1), None), None, ["birch", "cedar"], n_exams=1)


def test_a_place_that_is_read_is_fitted_alike_by_both_sets_of_masks(hospital: SimpleNamespace) -> None:
    found = measure()
    assert list(found) == list(FIGURES)
    assert {len(values) for values in found.values()} == {4}
    # the first view is read, the second is not
    assert (found[LIME_FIT][::2] > 0.9).all()
    assert (found[LIME_STABILITY][::2] > 0.5).all()
    assert found[LIME_RELIABLE].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert found[LIME_FIT][1] == found[LIME_STABILITY][1] == 0.0


def test_grad_cam_is_alike_under_a_little_noise_and_agrees_with_lime_where_both_see_the_same(
    hospital: SimpleNamespace,
) -> None:
    found = measure()
    assert (found[CAM_STABILITY] > 0.5).all()
    assert (found[CAM_LIME][::2] > 0.5).all()
    # a low score that speaks for the endpoint: what LIME sees speaks against it
    hospital.decision.is_low_positive = True
    assert (measure()[CAM_LIME][::2] <= 0.0).all()


def test_where_there_is_no_such_map_lime_alone_is_measured(hospital: SimpleNamespace) -> None:
    def refuse(_: torch.Tensor) -> None:
        raise IntakeError("no-gradient-map", "none")

    hospital.heat = refuse
    found = measure()
    assert len(found[CAM_STABILITY]) == len(found[CAM_LIME]) == 0
    assert len(found[LIME_FIT]) == 4


def test_cells_are_the_means_of_their_pixels() -> None:
    heat = np.arange(16.0 * 16).reshape(16, 16)
    cells = film_maps._cells_of(heat)
    assert cells.shape == (64,)
    assert cells[9] == heat[2:4, 2:4].mean()


@pytest.mark.parametrize(
    ("words", "has_gradient"),
    [
        (("experiment=tl_fusion",), False),
        (("fusion=image_only", "encoder=standin_resnet", "learner=gradient"), True),
    ],
    ids=["columns of two networks", "one network's map"],
)
def test_a_trained_model_is_read_as_a_release_is_with_its_own_encoders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], has_gradient: bool
) -> None:
    settings = compose_settings([*words, "privacy=off"], cohort="mura_wrist")
    plan = plan_arm(settings, {"hazel": 100, "larch": 100}, run="practice")
    start = untrained(plan).weights
    weights = start + np.random.default_rng(1).normal(0, 0.5, start.shape).astype(start.dtype)
    pixels, k = settings.cohort.image_pixels, len(settings.cohort.fields)
    film = torch.rand(1, pixels, pixels, generator=torch.Generator().manual_seed(2)).half()
    arrays = SimpleNamespace(
        exam_films=((), (0,)),  # the first exam has no film
        fields=np.zeros((2, k), dtype=np.float32),
        field_mask=np.zeros((2, k), dtype=np.bool_),
    )
    data = SimpleNamespace(cohort=None, arrays=arrays)
    monkeypatch.setattr(film_maps, "open_site", lambda _: None)
    monkeypatch.setattr(film_maps, "load_split", lambda *_, **__: data)
    monkeypatch.setattr(film_maps, "load_films", lambda _: film)
    monkeypatch.setattr(film_maps.lime, "N_MASKS", 24)
    cohorts = SimpleNamespace(folders=SimpleNamespace(site=lambda name: tmp_path / name))
    found = measure_maps(Trained(weights, plan), cohorts, ["hazel"], n_exams=2)
    assert len(found[LIME_FIT]) == 1
    assert 0.0 < found[LIME_FIT][0] <= 1.0
    assert len(found[CAM_STABILITY]) == len(found[CAM_LIME]) == int(has_gradient)
    if has_gradient:
        assert found[CAM_STABILITY][0] > 0.5
