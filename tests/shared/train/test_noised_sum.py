"""One draw of noise over a whole sum, in an order that nobody who adds noise can know."""

from __future__ import annotations

import numpy as np
import torch

from shared.privacy.noise import NoiseStream
from shared.train.canaries import AuditRegister
from shared.train.noised_sum import noised_sum

TOTAL = torch.arange(8, dtype=torch.float64)
COINS = np.array([True, False, True])


def add(
    register: AuditRegister | None, *, noise_multiplier: float = 1.0
) -> tuple[torch.Tensor, list[int]]:
    """``TOTAL`` with draws 100, 200, … for noise, and how many were drawn at once."""
    asked: list[int] = []

    def draw(n: int) -> torch.Tensor:
        asked.append(n)
        return 100.0 * torch.arange(1, n + 1, dtype=torch.float64)

    found = noised_sum(
        TOTAL, sensitivity=1.0, noise_multiplier=noise_multiplier, draw_normals=draw, register=register
    )
    return found, asked


def test_without_a_register_the_numbers_meet_their_draws_in_order() -> None:
    found, asked = add(None)
    assert torch.equal(found, TOTAL + 100.0 * torch.arange(1, 9))
    assert asked == [8]


def test_a_register_keeps_its_part_and_knows_where_in_the_draw_it_lay() -> None:
    register = AuditRegister(COINS)
    found, asked = add(register)
    drawn = ((found - TOTAL) / 100.0).round()
    assert sorted(drawn.tolist()) == list(range(1, 9)), "each number has a draw of its own"
    assert asked == [8], "one draw over model and register"
    assert np.array_equal(register.sums[0], found[:3].numpy())
    assert np.array_equal(register.places, drawn[:3].numpy() - 1)
    assert register.length == 8
    again, _ = add(register)
    assert torch.equal(again, found), "one order for all steps of a round"
    assert register.sums.shape == (2, 3)


def test_every_round_has_an_order_of_its_own() -> None:
    orders = {tuple(AuditRegister(COINS).order(50).tolist()) for _ in range(5)}
    assert len(orders) == 5


def test_without_noise_nothing_is_drawn_and_the_register_is_kept() -> None:
    register = AuditRegister(COINS)
    found, asked = add(register, noise_multiplier=0.0)
    assert torch.equal(found, TOTAL)
    assert (asked, register.sums.tolist()) == ([], [[0.0, 1.0, 2.0]])


def test_noise_is_rounded_to_the_lattice_of_the_sensitivity() -> None:
    found = noised_sum(TOTAL, sensitivity=0.5, noise_multiplier=2.0, draw_normals=NoiseStream())
    steps = found / 2.0**-31
    assert torch.equal(steps, steps.round())
