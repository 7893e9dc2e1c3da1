"""The landmark's network learns, equal seeds give equal files, and the shipped one names its recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import shared.exam.anatomy as anatomy
from server.encoders import pretrain_landmark as made
from server.encoders.pretrain_landmark import (
    SIZE,
    LandmarkNetwork,
    Seen,
    fit_landmark,
    focal_loss,
    place,
    pretrain_landmark,
)

SHIPPED = Path(anatomy.__file__).parent / "landmarks" / "hip.safetensors"


def dotted(n: int) -> list[Seen]:
    """Films whose landmark is their only bright place."""
    rng = np.random.default_rng(4)
    films = []
    for _ in range(n):
        row, column = rng.uniform(12, 36, 2)
        rows, columns = np.mgrid[:48, :48] + 0.5
        spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)
        channels = np.stack([2 * spot - 1, np.ones_like(spot)]).astype(np.float32)
        films.append(Seen(channels, (float(row), float(column))))
    return films


def test_a_target_peaks_where_the_landmark_lies():
    rng = np.random.default_rng(0)
    for seen in dotted(20):
        square, target = place(seen, rng)
        assert square.shape == (2, SIZE, SIZE)
        row, column = np.unravel_index(target.argmax(), target.shape)
        bright = np.unravel_index(square[0].argmax(), square[0].shape)
        assert abs(2 * row - bright[0]) <= 1.5
        assert abs(2 * column - bright[1]) <= 1.5


def test_a_film_wider_than_the_square_keeps_its_landmark_in_it():
    rng = np.random.default_rng(0)
    wide = np.zeros((2, 150, 60), np.float32)
    for row in (3.0, 75.0, 148.0):
        for _ in range(5):
            _, target = place(Seen(wide, (row, 30.0)), rng)
            assert target.max() > 0.7


def test_the_loss_is_least_where_the_map_is_right():
    target = torch.zeros(1, 8, 8)
    target[0, 3, 3] = 1
    right, wrong = torch.full((1, 8, 8), -6.0), torch.full((1, 8, 8), -6.0)
    right[0, 3, 3], wrong[0, 5, 5] = 6.0, 6.0
    assert focal_loss(right, target) < 0.01 < focal_loss(wrong, target)
    assert focal_loss(torch.full((1, 8, 8), -6.0), torch.zeros(1, 8, 8)) < 0.01


def test_it_learns_where_a_dot_is():
    losses: list[float] = []
    network, loss = fit_landmark(
        dotted(256),
        seed=1,
        epochs=6,
        progress=lambda words, *_: losses.append(float(words.split()[-1])),
    )
    assert loss < 0.5 * losses[0]
    assert isinstance(network, LandmarkNetwork)


def test_equal_seeds_give_equal_files(tmp_path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    hashes = [
        pretrain_landmark(file, seed=seed, n_films=16, epochs=1)
        for file, seed in zip(files, (1, 1, 2), strict=True)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", made.RECIPE_VERSION),
        ("films", made.N_FILMS),
        ("epochs", made.EPOCHS),
        ("batch", made.BATCH),
        ("learning_rate", made.LEARNING_RATE),
    ],
)
def test_the_shipped_network_is_of_this_recipe(name, value):
    with safe_open(SHIPPED, "np") as file:
        assert json.loads(file.metadata()["recipe"])[name] == value
