"""What every sum promises, asked of each one in ``practice_sums.SUMS``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from practice_patients import practice_patients, practice_settings
from practice_plan import plan_of, trained
from practice_sums import CLASSES, SUMS, Case, of_learner

from shared.contract.model_settings import Caps
from shared.contract.settings import PrivacySettings
from shared.contract.vector_file import open_vectors, write_vectors
from shared.errors import WeightsError
from shared.learners.table import LEARNERS
from shared.privacy.noise import NoiseStream
from shared.stages.gradient import GradientSum
from shared.stages.gradient_rows import PatientGradients
from shared.sums.contract import State, Sum
from shared.sums.federate import Noise, federate
from shared.sums.lattice import from_lattice, spacing_of
from shared.sums.total import CHUNK, exact_total_of, lattice_rows, total_of
from shared.train.canaries import AuditRegister
from shared.train.patients import PatientBatch
from shared.train.update import patients_at_once


@pytest.fixture(params=SUMS)
def case(request: pytest.FixtureRequest) -> Case:
    return SUMS[request.param]


def kept(state: State, path: Path) -> State:
    """A state as a run folder keeps it between two rounds, and gives it back."""
    write_vectors(path, {"vector": state.vector, **state.memory}, text={}, is_durable=False)
    found = dict(open_vectors(path).vectors)
    return State(found.pop("vector"), state.sums_done, found)


def bits_of(state: State) -> dict[str, object]:
    held = {"vector": state.vector, **state.memory}
    bits = {name: (value.shape, value.dtype, value.tobytes()) for name, value in held.items()}
    return {"sums_done": state.sums_done, **bits}


def states_of(case: Case) -> Iterator[State]:
    """The public state before each sum of a run on usual patients."""
    patients, state = case.usual(200, np.random.default_rng(1)), case.asked.start()
    for _ in case.asked.shares():
        yield state
        total = exact_total_of(case.asked, state, patients)
        state = case.asked.advance(state, total, sd=0.0, n_declared=200.0)


def some(states: Iterator[State]) -> list[State]:
    """The first two and the last, which is all of most sums."""
    held = list(states)
    return [*held[:2], *held[2:][-1:]]


def hostile_states(state: State) -> Iterator[State]:
    """The state itself, and what a coordinator might send instead."""
    draw = np.random.default_rng(3)
    d = len(state.vector)
    yield state
    if d:
        for vector in (
            1e30 * (state.vector + 1.0),
            1e30 * draw.choice([-1.0, 1.0], size=d),
            np.full(d, 1e300),
            1e6 * draw.normal(size=d),
            np.where(np.arange(d) % 2, 1e30, 1e-30),
            np.where(np.arange(d) % 2, 5e-324, -1e-310),
            np.zeros(d),
        ):
            yield State(vector, state.sums_done, state.memory)


def unsound_states(state: State) -> Iterator[State]:
    """What no request may carry (``require_state``)."""
    places = np.arange(len(state.vector))
    for vector in (
        np.where(places % 3, state.vector, np.nan),
        np.where(places % 3, state.vector, np.inf),
        np.where(places % 2, np.inf, -np.inf),
    ):
        yield State(vector, state.sums_done, state.memory)


def row_of(asked: Sum[Any], state: State, patients: Any, index: int) -> np.ndarray:
    """The integer row of one patient, made alone."""
    return total_of(asked, state, patients.select([index]))


def test_every_learner_of_the_table_is_held_to_the_contract() -> None:
    named = {type(SUMS[name].asked).__name__.lower() for name in SUMS}
    assert {kind.replace("_", "") for kind in LEARNERS} <= named


@pytest.mark.parametrize("kind", LEARNERS)
def test_every_learner_of_which_a_state_is_sent_is_tried_in_hostile_states(kind: str) -> None:
    case = of_learner(kind, n_classes=0 if kind == "second_moments" else CLASSES)
    sent = [state for state in some(states_of(case)) if len(state.vector)]
    assert sent or len(case.asked.shares()) == 1, "no state of a learner of several sums was tried"
    assert all(len(list(hostile_states(state))) > 1 for state in sent)


def test_shares_add_up_to_one(case: Case) -> None:
    shares = case.asked.shares()
    assert math.fsum(shares) == pytest.approx(1.0, abs=1e-12)
    assert min(shares) > 0


def test_no_patient_exceeds_the_bound_and_some_patient_attains_it(case: Case) -> None:
    patients = case.hostile(case.n_hostile, np.random.default_rng(2))
    for state in some(states_of(case)):
        for tried in hostile_states(state):
            bound = case.asked.bound(tried)
            spacing, longest = spacing_of(bound), 0.0
            for rows in lattice_rows(case.asked, tried, patients):
                longest = max(longest, float(np.linalg.norm(rows * spacing, axis=1).max()))
            assert longest <= bound * (1 + 1e-12)
            if tried is state:
                assert longest >= bound * (1 - 1e-6)


def test_rows_are_bounded_before_they_are_cut_to_the_bound(case: Case) -> None:
    patients = case.hostile(case.n_hostile, np.random.default_rng(4))
    for state in some(states_of(case)):
        for tried in hostile_states(state):
            for start in range(0, case.n_hostile, CHUNK):
                part = patients.select(range(start, min(start + CHUNK, case.n_hostile)))
                rows = case.asked.rows(tried, part)
                assert rows.shape == (len(part), case.asked.length(tried))
                assert np.isfinite(rows).all()
                assert np.linalg.norm(rows, axis=1).max() <= case.asked.bound(tried) * (1 + 1e-12)


@pytest.mark.parametrize("name", SUMS)
def test_numbers_that_no_request_may_carry_take_no_row_beyond_its_bound(name: str) -> None:
    asked = SUMS[name].asked
    patients = SUMS[name].hostile(CHUNK, np.random.default_rng(14))
    for state in some(states_of(SUMS[name])):
        for tried in unsound_states(state) if len(state.vector) else ():
            if isinstance(asked, PatientGradients):  # a network takes no such weights at all
                with pytest.raises(WeightsError):
                    asked.rows(tried, patients)
                continue
            rows = asked.rows(tried, patients)
            assert rows.shape == (CHUNK, asked.length(tried))
            assert np.isfinite(rows).all()
            assert np.linalg.norm(rows, axis=1).max() <= asked.bound(tried) * (1 + 1e-12)


def test_the_total_is_the_sum_of_rows_made_alone(case: Case) -> None:
    patients = case.hostile(40, np.random.default_rng(5))
    for state in some(states_of(case)):
        alone = sum(row_of(case.asked, state, patients, index) for index in range(40))
        assert np.array_equal(total_of(case.asked, state, patients), alone)


@pytest.mark.parametrize("name", [name for name in SUMS if hasattr(SUMS[name].asked, "quick_total")])
def test_a_quick_total_is_the_sum_of_rows(name: str) -> None:
    case = SUMS[name]
    patients = case.hostile(300, np.random.default_rng(13))
    for state in some(states_of(case)):
        for tried in hostile_states(state):
            total = total_of(case.asked, tried, patients)
            spacing = spacing_of(case.asked.bound(tried))
            assert np.array_equal(case.asked.quick_total(tried, patients), total * spacing)


@pytest.mark.parametrize("place", [0, 1, 63, CHUNK - 1, CHUNK, 199])
def test_a_patient_moves_the_total_by_exactly_that_patients_row(case: Case, place: int) -> None:
    draw = np.random.default_rng(place)
    patients = case.hostile(200, draw)
    others = [index for index in range(200) if index != place]
    moved = draw.permutation(others).tolist()
    for state in some(states_of(case)):
        for tried in hostile_states(state):
            row = row_of(case.asked, tried, patients, place)
            without = total_of(case.asked, tried, patients.select(others))
            assert np.array_equal(total_of(case.asked, tried, patients) - without, row)
            # The same patient at another place, among the same others in another order.
            elsewhere = [*moved[: 150 - place // 2], place, *moved[150 - place // 2 :]]
            assert np.array_equal(
                total_of(case.asked, tried, patients.select(elsewhere)), without + row
            )


def test_a_row_depends_on_nothing_of_a_state_but_what_a_request_carries(case: Case) -> None:
    patients = case.hostile(50, np.random.default_rng(6))
    for state in states_of(case):
        asked_of_site = State(state.vector, state.sums_done)
        assert case.asked.bound(asked_of_site) == case.asked.bound(state)
        assert np.array_equal(
            total_of(case.asked, asked_of_site, patients), total_of(case.asked, state, patients)
        )


def test_without_noise_federated_equals_pooled(case: Case) -> None:
    patients = case.usual(300, np.random.default_rng(7))
    sites = [
        patients.select(range(0, 50)),
        patients.select(range(50, 120)),
        patients.select(range(120, 300)),
    ]
    federated = federate(case.asked, sites, n_declared=300)
    pooled = federate(case.asked, [patients], n_declared=300)
    assert np.allclose(federated.vector, pooled.vector, rtol=1e-9, atol=1e-9)
    assert federated.sums_done == len(case.asked.shares())


def test_the_lattice_takes_next_to_nothing_from_a_total(case: Case) -> None:
    patients = case.usual(150, np.random.default_rng(8))
    for state in some(states_of(case)):
        bound = case.asked.bound(state)
        spacing = spacing_of(bound)
        rounded = from_lattice(total_of(case.asked, state, patients), spacing=spacing)
        assert np.abs(rounded - exact_total_of(case.asked, state, patients)).max() <= 150 * spacing


def test_a_run_taken_up_after_any_sum_ends_in_the_same_state(case: Case, tmp_path: Path) -> None:
    patients = case.usual(150, np.random.default_rng(9))
    whole = stored = case.asked.start()
    for _ in case.asked.shares():
        total = exact_total_of(case.asked, whole, patients)
        sd = 0.01 * case.asked.bound(whole)
        whole = case.asked.advance(whole, total, sd=sd, n_declared=150)
        stored = kept(stored, tmp_path / "state.safetensors")
        stored = case.asked.advance(stored, total, sd=sd, n_declared=150)
        assert bits_of(stored) == bits_of(whole)


def test_advance_is_a_function_of_its_arguments_and_changes_none_of_them(case: Case) -> None:
    draw = np.random.default_rng(10)
    for state in some(states_of(case)):
        total = case.asked.bound(state) * draw.normal(size=case.asked.length(state))
        before, given = bits_of(state), total.copy()
        first = case.asked.advance(state, total, sd=1.0, n_declared=200)
        again = case.asked.advance(state, total, sd=1.0, n_declared=200)
        assert bits_of(first) == bits_of(again)
        assert (bits_of(state) == before) & np.array_equal(total, given)
        assert first.sums_done == state.sums_done + 1
        assert np.isfinite(first.vector).all()


@pytest.mark.parametrize("mu", [0.01, 0.3, 3.0])
def test_under_any_noise_a_run_ends_in_a_finite_state(case: Case, mu: float) -> None:
    patients = case.usual(60, np.random.default_rng(11))
    noise = Noise(mu, NoiseStream())
    state = federate(case.asked, [patients, patients.select(range(5))], n_declared=65, noise=noise)
    assert np.isfinite(state.vector).all()
    assert np.abs(state.vector).max(initial=0.0) <= Caps(max_views=1, max_exams=1).state_max
    if hasattr(case.asked, "predict"):
        assert np.isfinite(case.asked.predict(state, patients)).all()


def test_nobody_has_a_total_of_zeros(case: Case) -> None:
    nobody = case.usual(3, np.random.default_rng(12)).select([])
    state = case.asked.start()
    assert total_of(case.asked, state, nobody).tolist() == [0] * case.asked.length(state)


@dataclass(frozen=True)
class AskedOfGradients:
    """A private gradient stage as both sides build it, at the chunk that its plan computes at once."""

    asked: GradientSum
    clip_norm: float
    chunk: int

    @classmethod
    def of(cls, fusion: str) -> AskedOfGradients:
        privacy = PrivacySettings(mode="patient_dp", noise_multiplier=1.0, clip_norm=0.5)
        settings = practice_settings(fusion).model_copy(update={"privacy": privacy})
        plan = plan_of(settings, {"aster": 400, "birch": 300})
        stage = trained(plan, fold="coordinator", local_steps=1, learning_rate=0.2)
        chunk = patients_at_once(plan.settings, torch.device("cpu"))
        return cls(GradientSum(plan, stage, None), stage.clip_norm, chunk)

    def total(self, vector: np.ndarray, patients: PatientBatch, coins: np.ndarray | None) -> np.ndarray:
        """The answer [p] whose noise is drawn as zero, in whole spacings of the lattice."""
        answer = self.asked.answer(
            vector,
            patients,
            round_number=1,
            declared_patients=400,
            draw_normals=lambda n: torch.zeros(n, dtype=torch.float64),
            register=None if coins is None else AuditRegister(coins),
        )
        steps = answer / spacing_of(self.clip_norm)
        assert np.array_equal(steps, np.rint(steps)), "off the lattice"
        return steps.astype(np.int64)


@pytest.mark.parametrize("fusion", ["linear", "concatenation", "cross_attention"])
@pytest.mark.parametrize("coins", [None, np.arange(7) % 2 == 1], ids=["no canaries", "canaries"])
@pytest.mark.parametrize("largest", [0.3, 1e6], ids=["usual weights", "hostile weights"])
def test_a_patient_moves_the_answer_of_training_by_exactly_that_patients_row(
    fusion: str, coins: np.ndarray | None, largest: float
) -> None:
    case = AskedOfGradients.of(fusion)
    n = 2 * case.chunk + 37  # three chunks, the last one ragged; with canaries at another edge
    patients = practice_patients(n, seed=3)
    start = case.asked.start().vector
    draw = np.random.default_rng(5)
    vector = (start + largest * draw.uniform(-1, 1, size=start.size)).astype(np.float32)
    whole = case.total(vector, patients, coins)
    moves = []
    for place in (0, case.chunk - 1, case.chunk, n - 1):
        others = [index for index in range(n) if index != place]
        row = case.total(vector, patients.select([place]), None)
        without = case.total(vector, patients.select(others), coins)
        assert np.array_equal(whole - without, row)
        moves.append(np.linalg.norm(row.astype(np.float64)) * spacing_of(case.clip_norm))
    assert max(moves) <= case.clip_norm
    assert max(moves) > 0.9 * case.clip_norm, "nobody's gradient was clipped"
