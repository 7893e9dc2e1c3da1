"""The optimizer adds our noise once per coordinate, divides by a constant, and steps."""

from __future__ import annotations

import torch
from torch import nn

from shared.privacy.noise import NoiseStream
from shared.train.dp_optimizer import PatientOptimizer


def make_optimizer(weights: list[nn.Parameter], **changes: object) -> PatientOptimizer:
    values: dict[str, object] = {
        "learning_rate": 0.1,
        "clip_norm": 2.0,
        "noise_multiplier": 3.0,
        "divisor": 10,
        "draw_normals": lambda n: torch.arange(1, n + 1, dtype=torch.float64),
        "adjust": lambda: None,
    }
    return PatientOptimizer(weights, **(values | changes))


def two_weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 1))]


def test_one_step_by_hand() -> None:
    # one draw over both: u = sum + 3·2·(1, 2 | 3) = (7, 14 | 21); step −0.1·u/10
    weights = two_weights()
    make_optimizer(weights).step_with(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(weights[0].detach(), torch.tensor([-0.07, -0.14]))
    torch.testing.assert_close(weights[1].detach(), torch.tensor([[-0.21]]))


def test_without_clipping_or_with_noise_multiplier_zero_nothing_is_drawn() -> None:
    def refuse(n: int) -> torch.Tensor:
        raise AssertionError("drew noise")

    total = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    for changes in ({"clip_norm": None, "noise_multiplier": 0.0}, {"noise_multiplier": 0.0}):
        weights = two_weights()
        make_optimizer(weights, draw_normals=refuse, **changes).step_with(total)
        torch.testing.assert_close(weights[0].detach(), torch.tensor([-0.01, -0.02]))


def test_the_sum_is_not_clipped_again() -> None:
    weights = two_weights()
    total = torch.tensor([1000.0, 0.0, 0.0], dtype=torch.float64)
    make_optimizer(weights, noise_multiplier=0.0).step_with(total)
    assert weights[0][0].item() == -10.0


def test_noise_is_drawn_afresh_for_every_step_and_tensor() -> None:
    weights = [nn.Parameter(torch.zeros(500)), nn.Parameter(torch.zeros(500))]
    optimizer = make_optimizer(weights, draw_normals=NoiseStream())
    steps = []
    for _ in range(2):
        before = torch.cat([weight.detach().clone() for weight in weights])
        optimizer.step_with(torch.zeros(1000, dtype=torch.float64))
        steps.append(torch.cat([weight.detach() for weight in weights]) - before)
    drawn = torch.cat(steps).view(4, 500)
    correlation = torch.corrcoef(drawn) - torch.eye(4)
    assert correlation.abs().max() < 6 / 500**0.5


def test_the_adjustment_sees_the_noised_and_divided_gradient() -> None:
    weights = two_weights()
    seen = []
    optimizer = make_optimizer(weights, adjust=lambda: seen.append(weights[0].grad.clone()))
    optimizer.step_with(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(seen[0], torch.tensor([0.7, 1.4]))
