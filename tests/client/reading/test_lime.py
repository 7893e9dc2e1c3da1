"""LIME of one film: against the package's fit and a closed form, and when it is called reliable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from client.reading import lime

STORED = Path(__file__).resolve().parents[2] / "practice" / "references" / "lime_weights.json"
FILM = torch.rand(2, 64, 96, generator=torch.Generator().manual_seed(5))


def reads_a_place(views: torch.Tensor) -> torch.Tensor:
    """The light of row 2, columns 4 and 5 of the cells of the second view."""
    return 4.0 * views[:, 1, 16:24, 48:72].mean(dim=(1, 2))


def reads_nothing_steady(seed: int) -> object:
    draw = np.random.default_rng(seed)
    return lambda views: torch.from_numpy(draw.standard_normal(len(views)))


def test_weights_and_fit_are_those_of_the_package() -> None:
    stored = json.loads(STORED.read_text())
    assert stored["certificate"]["tool"].startswith("lime 0.2.0.1")
    masks = np.array([[cell == "1" for cell in mask] for mask in stored["masks"]])
    weights, r2 = lime.fit(masks, np.array(stored["scores"]))
    assert weights == pytest.approx(stored["weights"], abs=1e-12)
    assert r2 == pytest.approx(stored["r2"], abs=1e-12)


def test_a_model_that_is_linear_in_its_cells_gets_the_closed_form() -> None:
    draw = np.random.default_rng(1)
    masks, effect = draw.random((300, 16)) < 0.5, draw.standard_normal(16)
    weights, r2 = lime.fit(masks, 0.7 + masks @ effect)
    # (X'WX + I)⁻¹ X'WX β, X centred by its weighted mean
    cosine = masks.sum(axis=1) / np.sqrt(masks.sum(axis=1) * 16)
    counts = np.exp(-((1 - cosine) ** 2) / 0.25**2) ** 0.5
    centred = masks - (counts @ masks) / counts.sum()
    gram = centred.T @ np.diag(counts) @ centred
    assert weights == pytest.approx(np.linalg.inv(gram + np.eye(16)) @ gram @ effect, abs=1e-10)
    assert 0.99 < r2 < 1


def test_a_place_that_a_model_reads_is_found_there_in_the_scores_unit() -> None:
    found = lime.explain(FILM, 1, reads_a_place)
    assert found.is_reliable
    assert found.r2 > 0.99
    assert found.in_words.startswith("fit R² 1.00, stability 1.00")
    heat = found.heat((64, 96))
    inside = np.zeros((64, 96), dtype=bool)
    inside[16:24, 48:72] = True
    assert np.abs(heat[inside]).min() > 5 * np.abs(heat[~inside]).max()
    # both cells shown: what the whole film has over one of its mean there, less the ridge
    change = float(reads_a_place(FILM[None])[0]) - 4.0 * float(FILM[1].mean())
    assert found.weights[2, 4:6].sum() == pytest.approx(change, rel=0.05)


def test_another_film_of_the_exam_has_no_share_in_it() -> None:
    found = lime.explain(FILM, 0, reads_a_place)
    assert not found.is_reliable
    assert not found.weights.any()


def test_the_limit_parts_models_that_read_a_place_from_answers_of_chance() -> None:
    steady, chance = [], []
    for seed in range(12):
        film = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(seed))
        draw = np.random.default_rng(seed)

        def noisy(views: torch.Tensor, draw: np.random.Generator = draw) -> torch.Tensor:
            light = views[:, 0, 8:24, 16:40].mean(dim=(1, 2)).double()
            product = views[:, 0, :32].mean(dim=(1, 2)) * views[:, 0, 32:].mean(dim=(1, 2))
            return light + product + 1e-3 * torch.from_numpy(draw.standard_normal(len(views)))

        steady.append(lime.explain(film, 0, noisy).stability)
        chance.append(lime.explain(film, 0, reads_nothing_steady(seed)).stability)
    assert max(chance) < 0.4 < lime.STABILITY_LIMIT < 0.6 < min(steady)
    assert np.std(chance) == pytest.approx(1 / np.sqrt(63), rel=0.5)


def test_what_is_not_reliable_says_so_and_has_no_map() -> None:
    found = lime.explain(FILM, 1, reads_nothing_steady(3))
    assert not found.is_reliable
    assert found.heat((64, 96)) is None
    assert found.in_words.startswith("not reliable: fit R² ")
    assert found.in_words.endswith("below 0.5")


def test_masks_follow_from_the_films_bytes_alone() -> None:
    film = FILM[0].numpy()
    assert np.array_equal(lime.draw_masks(film), lime.draw_masks(film.copy()))
    other = film.copy()
    other[0, 0] += 1e-3
    assert not np.array_equal(lime.draw_masks(film), lime.draw_masks(other))
    first, second = np.split(lime.draw_masks(film), 2)
    assert not {mask.tobytes() for mask in first} & {mask.tobytes() for mask in second}


def test_cells_part_a_film_whatever_its_size() -> None:
    cells = lime.cells_of((20, 9))
    assert cells.shape == (20, 9)
    assert np.array_equal(np.unique(cells), np.arange(64))
    assert (cells[0, 0], cells[0, 8], cells[19, 8]) == (0, 7, 63)


def test_small_weights_are_ties_and_a_fit_without_weights_agrees_with_none() -> None:
    first, second = np.zeros(64), np.zeros(64)
    first[:3], second[:3] = (3.0, 2.0, 0.2), (3.0, 2.0, -0.2)
    assert lime.agreement(first, second) == pytest.approx(1.0)
    assert lime.agreement(first, np.zeros(64)) == 0.0
    assert lime.agreement(first, -first) < -0.4
