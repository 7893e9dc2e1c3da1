"""Public components keep their shares of the variance, and a film's are that film's alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared.errors import WeightsError
from shared.features.columns import IMAGE_NORM
from shared.features.components import (
    CELL_TENSORS,
    MOST_COMPONENTS,
    TENSORS,
    film_columns,
    fit_components,
    project,
    public_spreads,
    read_cells,
    read_components,
    read_spreads,
)


def films(n: int = 400, f: int = 40) -> np.ndarray:
    """Standardised columns whose spreads fall, about 0."""
    rng = np.random.default_rng(4)
    mixed = rng.normal(size=(n, f)) * np.linspace(2.0, 0.1, f)
    turned, _ = np.linalg.qr(rng.normal(size=(f, f)))
    found: np.ndarray = mixed @ turned
    return found


def test_components_are_orthogonal_and_hold_the_most_variance_in_order() -> None:
    directions, variances = fit_components(films())
    assert directions.shape == (40, MOST_COMPONENTS)
    assert np.allclose(directions.T @ directions, np.eye(MOST_COMPONENTS), atol=1e-9)
    assert (np.diff(variances) <= 0).all()
    assert np.allclose((films() @ directions).var(axis=0), variances)
    assert (directions[np.abs(directions).argmax(axis=0), np.arange(MOST_COMPONENTS)] > 0).all()
    assert fit_components(films(f=5))[1].shape == (5,)


@pytest.mark.parametrize("k", [1, 16, 32])
def test_a_block_has_the_public_norm_and_its_components_their_shares(k: int) -> None:
    directions, variances = fit_components(films())
    chosen, held = directions[:, :k], variances[:k]
    rows = np.stack([project(film, chosen, held) for film in films()])
    assert np.sqrt((rows**2).sum(axis=1).mean()) == pytest.approx(IMAGE_NORM, rel=0.02)
    assert np.allclose(rows.std(axis=0), public_spreads(held))
    assert np.allclose(rows.var(axis=0) / rows.var(axis=0).sum(), held / held.sum())


def test_a_projection_is_the_product_in_one_order_of_sums() -> None:
    directions, variances = fit_components(films())
    film = films()[3]
    factor = IMAGE_NORM / np.sqrt(variances.sum())
    assert np.allclose(project(film, directions, variances), film @ directions * factor)
    fewer = project(film, directions[:, :4], variances[:4])
    again = project(film.copy(), np.asfortranarray(directions[:, :4]), variances[:4])
    assert fewer.tobytes() == again.tobytes()


def test_columns_reach_four_spreads_to_both_sides() -> None:
    [first, second] = film_columns("vgg", ["vgg[0]", "vgg[1]"], (2.0, 0.5))
    assert (first.low, first.high, first.spread, first.centre) == (-8.0, 8.0, 2.0, 0.0)
    assert (second.name, second.source, second.high) == ("vgg[1]", "vgg", 2.0)


def test_a_file_gives_as_many_components_as_are_asked_or_says_what_it_holds(tmp_path: Path) -> None:
    directions, variances = fit_components(films(f=6))
    variances[4:] = 1e-13  # rounding
    path = tmp_path / "encoder.safetensors"
    held_in = (np.ascontiguousarray(directions), variances)
    save_file(dict(zip(TENSORS, held_in, strict=True)), path)
    found, held = read_components(path, 4)
    assert np.array_equal(found, directions[:, :4])
    assert np.array_equal(held, variances[:4])
    with pytest.raises(WeightsError, match="holds 4 public components, 5 are asked") as refused:
        read_components(path, 5)
    assert refused.value.code == "weights.no-components"
    assert str(refused.value.hint).startswith("ask for no more"), "cells would not make more"
    save_file({"other": np.zeros(2)}, path)
    with pytest.raises(WeightsError, match="holds 0 public components, 1 are asked"):
        read_components(path, 1)


def test_cells_of_a_film_share_one_public_norm_and_one_size_by_component() -> None:
    cells = films(n=400 * 9).reshape(400, 9, 40)  # 400 films of nine cells
    directions, variances = fit_components(cells.reshape(-1, 40))
    chosen, held = directions[:, :5], variances[:5]
    rows = np.stack([project(film, chosen, held, n_cells=9) for film in cells])  # [n,9,k]
    assert np.sqrt((rows**2).sum(axis=(1, 2)).mean()) == pytest.approx(IMAGE_NORM, rel=0.02)
    assert np.allclose(rows.std(axis=(0, 1)), public_spreads(held, n_cells=9), rtol=0.02)
    one = project(cells[7, 4], chosen, held, n_cells=9)
    assert one.tobytes() == rows[7, 4].tobytes(), "a cell is that cell's alone"


def test_a_file_gives_the_sizes_of_the_grid_that_is_asked_or_says_which_it_holds(
    tmp_path: Path,
) -> None:
    directions, variances = fit_components(films(f=6))
    by_grid = np.stack([variances / 9, variances / 4, variances])  # of a map of 3 x 3 cells
    usual = np.random.default_rng(2).normal(size=(9, 6))
    path = tmp_path / "encoder.safetensors"
    cells = dict(zip(CELL_TENSORS, (np.ascontiguousarray(directions), by_grid, usual), strict=True))
    pooled = dict(zip(TENSORS, (np.ascontiguousarray(directions), variances * 7), strict=True))
    save_file(cells | pooled, path)
    found, held, means = read_cells(path, 4, grid=2)
    assert np.array_equal(found, directions[:, :4])
    assert np.array_equal(held, variances[:4] / 4)
    assert np.array_equal(means, usual)
    assert read_spreads(path, 4, grid=2) == public_spreads(held, n_cells=4)
    assert read_spreads(path, 4, grid=1) == public_spreads(variances[:4] * 7)
    with pytest.raises(WeightsError, match="must be 1 to 3, not 4") as refused:
        read_cells(path, 4, grid=4)
    assert refused.value.code == "weights.no-cells"
    with pytest.raises(WeightsError, match="holds 6 public components, 7 are asked"):
        read_cells(path, 7, grid=3)
    save_file(pooled, path)
    with pytest.raises(WeightsError, match="must be 1, since it holds no constants of cells, not 2"):
        read_spreads(path, 4, grid=2)
    assert read_spreads(path, 4, grid=1) == public_spreads(variances[:4] * 7)
