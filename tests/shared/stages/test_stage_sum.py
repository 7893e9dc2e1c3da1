"""What both sides hold a state and a total to, before anybody is charged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_federation import P
from practice_tables import Numbers

from shared.contract.stages import StageSettings
from shared.errors import ProtocolError
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import (
    StageSum,
    largest_noised,
    noise_of_rows,
    require_state,
    total_with_noise,
)
from shared.sums.contract import State


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


@dataclass(frozen=True)
class Thirds:
    """A patient's row is a third in both cells, of which no lattice of powers of two has a point."""

    def start(self) -> State:
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        return (1.0,)

    def length(self, _: State) -> int:
        return 2

    def bound(self, _: State) -> float:
        return 1.0

    def rows(self, _: State, patients: Numbers) -> np.ndarray:
        return np.full((len(patients), 2), 1 / 3)

    def advance(self, state: State, total: np.ndarray, *, sd: float, n_declared: float) -> State:
        raise AssertionError(f"{sd} {n_declared} {total} {state}")


def stage_of(release_class: str, noise: float) -> StageSettings:
    return StageSettings(
        name="any",
        roles=("training",),
        patients="train",
        release_class=release_class,
        noise_multipliers=(noise,),
    )


@pytest.mark.parametrize("release_class", ["governed", "off"])
def test_a_total_without_noise_is_exact_and_draws_none(release_class: str) -> None:
    def refuse(n: int) -> float:
        raise AssertionError(f"{n} normals were drawn")

    stage, patients = stage_of(release_class, 0.0), Numbers(np.zeros((9, 1)))
    asked = {"stage": stage, "round_number": 1, "places": 9, "draw_normals": refuse}
    total = total_with_noise(Thirds(), Thirds().start(), patients, **asked)
    assert total.tolist() == pytest.approx([3.0, 3.0], rel=1e-15)


def test_a_private_total_is_on_the_lattice_with_the_noise_of_its_round() -> None:
    stage, patients = stage_of("dp", 2.0), Numbers(np.zeros((9, 1)))
    asked = {
        "stage": stage,
        "round_number": 1,
        "places": 9,
        "draw_normals": lambda n: np.array([1.0, -1.0])[:n],
    }
    total = total_with_noise(Thirds(), Thirds().start(), patients, **asked)
    third = math.floor(2**30 / 3) / 2**30  # truncated towards zero
    assert total.tolist() == [9 * third + 2.0, 9 * third - 2.0]


def test_what_a_sum_of_rows_promises_is_what_its_total_holds() -> None:
    promised = noise_of_rows(bound=1.0, noise_multiplier=2.0, parts={"all": slice(0, 2)})
    stage, nobody = stage_of("dp", 2.0), Numbers(np.zeros((0, 1)))
    asked = {
        "stage": stage,
        "round_number": 1,
        "places": 9,
        "draw_normals": lambda n: np.array([1.0, -1.0])[:n],
    }
    total = total_with_noise(Thirds(), Thirds().start(), nobody, **asked)
    assert Thirds().bound(Thirds().start()) == promised.row == 1.0
    assert total.tolist() == [promised.sd, -promised.sd]
    assert promised.fresh_sd == promised.sd
    assert promised.spacing == 2.0**-30
