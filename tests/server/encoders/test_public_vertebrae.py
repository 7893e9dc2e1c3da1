"""Public vertebrae repeat for a seed, and their heights are those of the masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from server.encoders import public_vertebrae
from server.encoders.public_vertebrae import HEIGHTS, draw_vertebrae, measure_heights


def test_heights_of_a_block_are_its_height_over_its_length() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 5:45] = True
    assert measure_heights(mask) == pytest.approx((0.25, 0.25, 0.25))


def test_a_wedge_is_told_by_its_edges_whichever_side_it_is_seen_from() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    for column in range(40):
        mask[: 10 + column // 4, column] = True
    lower, middle, higher = measure_heights(mask)
    assert lower < middle < higher
    assert measure_heights(mask[:, ::-1]) == pytest.approx((lower, middle, higher))


def test_public_vertebrae_repeat_for_a_seed_and_their_heights_are_standard() -> None:
    crops, heights = draw_vertebrae(14, seed=3, pixels=64)
    again, _ = draw_vertebrae(14, seed=3, pixels=64)
    other, _ = draw_vertebrae(14, seed=4, pixels=64)
    assert crops.shape == (14, 1, 64, 64)
    assert torch.equal(crops, again)
    assert not torch.equal(crops, other)
    torch.testing.assert_close(heights.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(heights.std(dim=0), torch.ones(3))


def test_what_is_taught_is_geometry_and_its_hospital_is_measured_by_no_figure() -> None:
    from server.experiments.populations import VERTEBRAE

    assert all(name.endswith("over_length") for name in HEIGHTS)
    assert public_vertebrae.HOSPITAL not in (*VERTEBRAE.training, *VERTEBRAE.external)
