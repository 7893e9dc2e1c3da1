"""What hiding a place changes, of a score whose place is known."""

from __future__ import annotations

import pytest
import torch

from client.reading.occlusion import occlude


def test_a_heat_map_is_the_change_of_the_output_where_a_place_is_hidden() -> None:
    stack = torch.zeros(2, 32, 32)
    stack[1, :16, :16] = 1.0  # the second view's upper left place, and the film's mean is a quarter

    def value_of(views: torch.Tensor) -> torch.Tensor:
        return 4.0 * views[:, 1, :16, :16].mean(dim=(1, 2))

    silent, found = (occlude(stack, view, value_of) for view in (0, 1))
    assert not silent.any()
    # hidden whole: 4·(1 − 0.25); a place that covers none of it changes nothing
    assert found[0, 0] == pytest.approx(3.0)
    assert found[31, 31] == 0.0
    assert found[15, 15] < found[0, 0]
    assert (found >= 0).all()
