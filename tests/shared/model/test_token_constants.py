"""What public films say of tokens follows from the tokens, at every grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.features.components import CELL_TENSORS, TENSORS
from shared.model.token_constants import (
    measure_cells,
    measure_components,
    measure_constants,
    shrink_map,
    shrink_tokens,
)


def tokens(n: int = 300, side: int = 3, c: int = 5) -> Tensor:
    """Cells that differ by their place on every film, and films that differ in each cell."""
    draw = torch.Generator().manual_seed(7)
    places = 4.0 * torch.randn(side * side, c, generator=draw)
    spreads = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1])[:c]
    return places + spreads * torch.randn(n, side * side, c, generator=draw)


@pytest.mark.parametrize("fine", [4, 7, 8, 16])
def test_a_shrunk_map_is_that_of_adaptive_pooling(fine: int) -> None:
    mapped = torch.randn(2, 3, fine, fine, generator=torch.Generator().manual_seed(fine))
    flat = mapped.flatten(2).transpose(1, 2)
    for grid in range(1, fine + 1):
        expected = functional.adaptive_avg_pool2d(mapped, grid)
        assert float((shrink_map(mapped, grid) - expected).abs().max()) <= 1e-6
        assert torch.equal(
            shrink_tokens(flat, grid), shrink_map(mapped, grid).flatten(2).transpose(1, 2)
        )


def test_constants_by_hand() -> None:
    # pooled values 0 and 2: mean 1, SD √2, factor 3/√1
    by_hand = torch.tensor([[[-1.0], [1.0]], [[2.0], [2.0]]])
    mean, deviation, scale = measure_constants(by_hand)
    assert (mean.item(), deviation.item(), scale.item()) == pytest.approx((1.0, 2.0**0.5, 3.0))


def test_components_of_the_mean_token_are_those_of_its_films() -> None:
    pooled = tokens().mean(dim=1)
    directions, variances = (measure_components(tokens())[name] for name in TENSORS)
    torch.testing.assert_close((pooled @ directions).var(dim=0, correction=0), variances)


def test_what_a_cell_is_on_every_film_is_no_component_of_it() -> None:
    directions, variances, means = (measure_cells(tokens())[name] for name in CELL_TENSORS)
    assert (directions.shape, variances.shape, means.shape) == ((5, 5), (3, 5), (9, 5))
    torch.testing.assert_close(means, tokens().mean(dim=0))
    # places spread 4 SDs in every channel, films by the channel: films alone order the components
    found = variances[-1].sqrt().numpy()
    assert np.allclose(found, [3.0, 2.0, 1.0, 0.5, 0.1], rtol=0.05)


def test_a_row_of_variances_is_of_the_cells_of_its_grid() -> None:
    directions, variances, means = (measure_cells(tokens())[name] for name in CELL_TENSORS)
    for grid in (1, 2, 3):
        cells = shrink_tokens(tokens(), grid) - shrink_tokens(means[None], grid)
        torch.testing.assert_close((cells @ directions).square().mean(dim=(0, 1)), variances[grid - 1])
    assert variances[0].sum() < 0.2 * variances[2].sum(), "means of nine cells are quieter than cells"
