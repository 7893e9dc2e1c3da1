"""What both sides hold a state and a total to, before anybody is charged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_federation import P

from shared.errors import ProtocolError
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageSum, largest_noised, require_state


@pytest.fixture
def asked(tmp_path: Path) -> StageSum:
    """Training of the practice model: six float32 weights, none beyond 1000."""
    plan = practice.found_federation(tmp_path)[0].plan
    return sum_of(plan, plan.stage("train"), encoder_file=None)


@pytest.mark.parametrize("value", [0.0, 1000.0, -1000.0, 1e-45])
def test_a_state_within_the_plans_caps_is_taken(asked: StageSum, value: float) -> None:
    require_state(asked, np.full(P, value, "<f4"), round_number=1)


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (np.zeros(P, "<f8"), "protocol.unsound-weights"),
        (np.zeros(P, ">f4"), "protocol.unsound-weights"),
        (np.full(P, np.nan, "<f4"), "protocol.unsound-weights"),
        (np.full(P, np.inf, "<f4"), "protocol.unsound-weights"),
        (np.full(P, -np.inf, "<f4"), "protocol.unsound-weights"),
        (np.zeros(P - 1, "<f4"), "protocol.wrong-shape"),
        (np.zeros(P + 1, "<f4"), "protocol.wrong-shape"),
        (np.zeros(0, "<f4"), "protocol.wrong-shape"),
        (np.full(P, 1000.1, "<f4"), "protocol.weights-too-large"),
        (np.array([0, 0, 0, 0, 0, -1e30], "<f4"), "protocol.weights-too-large"),
    ],
)
def test_a_state_that_could_only_fail_or_break_arithmetic_is_refused(
    asked: StageSum, vector: np.ndarray, code: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        require_state(asked, vector, round_number=1)
    assert caught.value.code == code


def test_the_largest_honest_total_is_ten_times_the_declared_patients_and_the_noise() -> None:
    # 10 · 40 patients of norm 0.5; noise of 2 · 0.5 in 9 cells: typical length 1 · 3, and ten more SDs
    largest = largest_noised(bound=0.5, noise_multiplier=2.0, length=9, declared=40)
    assert largest == pytest.approx(200 + 13)
    exact = largest_noised(bound=math.sqrt(2), noise_multiplier=0.0, length=9, declared=40)
    assert exact == pytest.approx(400 * math.sqrt(2))
