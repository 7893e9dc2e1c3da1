"""Steps, the tail's mean, the schedule, and the gradient of linear scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from shared.learners.descent import Descent, RateRow, class_scores, score_gradients, within_reach
from shared.sums.contract import State

SETTINGS = SimpleNamespace(
    sums=4,
    clip_norm=0.5,
    schedule=(
        RateRow(up_to_epsilon=1, rate_times_sums=2),
        RateRow(up_to_epsilon=50, rate_times_sums=4),
    ),
)


def test_the_last_state_is_the_mean_of_the_last_half_by_hand() -> None:
    descent, state = Descent(sums=3, clip_norm=1.0, learning_rate=1.0), State(np.zeros(2))
    for step in (1.0, 2.0, 4.0):  # rate 1 a sum, 10 patients: −1, −3, −7
        state = descent.step(state, np.array([10.0 * step, 0.0]), n_declared=10)
    assert state.vector.tolist() == [-5.0, 0.0]
    assert state.memory == {}


def test_a_vector_is_tidied_before_it_is_a_state() -> None:
    descent = Descent(sums=2, clip_norm=1.0, learning_rate=1.0)
    state = descent.step(State(np.zeros(1)), np.ones(1), n_declared=1, tidied=np.abs)
    assert state.vector.tolist() == [1.0]


@pytest.mark.parametrize(("epsilon", "rate"), [(0.5, 0.5), (1.0, 0.5), (1.1, 1.0), (None, 1.0)])
def test_the_rate_is_the_schedules_at_the_stages_epsilon(epsilon: float | None, rate: float) -> None:
    descent = Descent.of(SETTINGS, epsilon=epsilon)
    assert descent.learning_rate == rate
    assert descent.shares() == (0.25,) * 4


def test_gradients_are_clipped_and_what_is_no_number_is_nobody() -> None:
    rows = Descent.of(SETTINGS, epsilon=None).rows(np.array([[3.0, 4.0], [0.3, 0.4], [np.nan, 1.0]]))
    np.testing.assert_allclose(rows, [[0.3, 0.4], [0.3, 0.4], [0.0, 0.0]], atol=1e-9)


def test_scores_are_offset_and_weights_by_hand() -> None:
    values, vector = np.array([[1.0, 2.0]]), np.array([0.5, -0.5, 1.0, 0.0, 0.0, 3.0])
    assert class_scores(values, vector, n_classes=2).tolist() == [[1.5, 5.5]]
    assert score_gradients(np.array([[0.1, -0.2]]), values).tolist() == [
        pytest.approx([0.1, -0.2, 0.1, -0.2, 0.2, -0.4])
    ]


def test_no_score_leaves_what_an_exponential_can_hold() -> None:
    assert within_reach(np.array([np.inf, -1e300, 3.0])).tolist() == [30.0, -30.0, 3.0]
