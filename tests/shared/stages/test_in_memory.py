"""A training in memory is the training of a run: rounds, folds, weights, the average of the tail."""

from __future__ import annotations

import numpy as np
import pytest
from practice_patients import practice_patients, practice_settings, read
from practice_plan import plan_of, trained

from shared.contract.plan import Plan
from shared.contract.settings import read_settings
from shared.errors import PlanError
from shared.stages.gradient import GradientSum
from shared.stages.in_memory import rounds_in_memory, train_in_memory
from shared.train.patients import PatientBatch, join_patients
from shared.train.update import train_update

SITES = {"aster": 5, "birch": 9}


def patients() -> dict[str, PatientBatch]:
    return {site: practice_patients(n, seed=n) for site, n in SITES.items()}


def open_plan(
    sites: dict[str, int] = SITES, *, fusion: str = "linear", **changes: object
) -> tuple[Plan, dict[str, object]]:
    """A plan without clip and noise, and what its training is changed to."""
    plan = plan_of(practice_settings(fusion), sites)
    return plan, {"update_norm_max": 1e9, "rounds": 3, "learning_rate": 0.1} | changes


def test_changes_of_the_weights_are_averaged_by_the_rosters_weights_and_so_is_the_tail() -> None:
    plan, changes = open_plan(fold="site", local_steps=2)
    stage = trained(plan, **changes)
    weights, history = GradientSum(plan, stage, None).start().vector, []
    for _ in range(3):
        one, two = (
            train_update(plan.settings, stage, patients()[site], weights, divisor=n).astype(np.float64)
            for site, n in SITES.items()
        )
        weights = (weights + (5 * one + 9 * two) / 14).astype(np.float32)
        history.append(weights)
    found = train_in_memory(plan, stage, patients())
    # a tail of one half of three rounds is the last two
    np.testing.assert_allclose(found, (history[1] + history[2]) / 2, rtol=1e-5, atol=1e-7)
    assert np.abs(found - history[2]).max() > 1e-5


@pytest.mark.parametrize("fusion", ["linear", "concatenation", "cross_attention"])
def test_sums_that_the_coordinator_folds_are_those_of_everybody_in_one_place(fusion: str) -> None:
    plan, changes = open_plan(fusion=fusion, fold="coordinator", local_steps=1)
    apart = train_in_memory(plan, trained(plan, **changes), patients())
    whole, changes = open_plan({"all": 14}, fusion=fusion, fold="coordinator", local_steps=1)
    joined = {"all": join_patients(*patients().values())}
    together = train_in_memory(whole, trained(whole, **changes), joined)
    np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-7)
    start = GradientSum(plan, trained(plan), None).start().vector
    assert np.abs(apart - start).max() > 1e-3


def test_every_round_is_told_from_the_state_that_training_starts_from() -> None:
    plan, changes = open_plan(fold="coordinator", local_steps=1)
    stage = trained(plan, **changes)
    states = list(rounds_in_memory(plan, stage, patients()))
    assert [state.round for state in states] == [0, 1, 2, 3]
    start = GradientSum(plan, stage, None).start().vector
    assert np.array_equal(states[0].vector, start)


def test_who_takes_no_part_is_not_waited_for_and_a_stranger_is_refused() -> None:
    plan, changes = open_plan(fold="site", local_steps=1)
    stage = trained(plan, **changes)
    of_birch = {"birch": patients()["birch"]}
    states = list(rounds_in_memory(plan, stage, of_birch))
    start = states[0].vector
    alone = train_update(plan.settings, stage, of_birch["birch"], start, divisor=9)
    np.testing.assert_allclose(states[1].vector - start, alone, rtol=1e-4, atol=1e-7)
    with pytest.raises(PlanError, match="not on the roster"):
        train_in_memory(plan, stage, {"elsewhere": of_birch["birch"]})


def test_a_learner_of_tables_ends_with_its_last_state() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    settings |= {"learner": read("learner/second_moments")}
    plan = plan_of(read_settings(settings), SITES)
    stage = plan.stage("train")
    states = list(rounds_in_memory(plan, stage, patients()))
    assert len(states) == 3  # means, then the matrix
    assert np.array_equal(train_in_memory(plan, stage, patients()), states[-1].vector)
