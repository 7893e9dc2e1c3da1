"""What training is said to have sent follows from the plan's stage, and so does whether sites weigh."""

from __future__ import annotations

import pytest
from practice_federation import practice_settings
from practice_learners import PLANNED, SITES, learner_plan, stage_of
from practice_plan import plan_of

from server.report.training import training_of, write_combination, write_release, write_totals
from shared.contract.stages import GradientStage


def gradient_stage(**groups: dict[str, object]) -> GradientStage:
    stage = plan_of(practice_settings(**groups), SITES).training
    assert stage is not None
    return stage


def test_a_site_that_folds_sends_changes_of_weights_and_has_a_share_in_their_average() -> None:
    told = training_of(gradient_stage(), [14_403] * 10)
    assert write_totals(told) == "changes of the trained weights (14,403 numbers a round)"
    assert told.has_weights
    assert "fixed share in every average" in write_combination(told)


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "geometric_median"])
@pytest.mark.parametrize(("fold", "total"), [("site", "changes"), ("coordinator", "gradients")])
def test_under_a_robust_rule_sites_have_no_weight(rule: str, fold: str, total: str) -> None:
    told = training_of(gradient_stage(strategy={"name": rule}, federation={"fold": fold}), [6])
    assert told.total == total
    assert not told.has_weights
    assert "counts each alike" in write_combination(told)


@pytest.mark.parametrize("rule", ["fedprox", "fedadam"])
def test_other_rules_average_by_shares(rule: str) -> None:
    assert training_of(gradient_stage(strategy={"name": rule}), [6]).has_weights


def test_where_the_coordinator_folds_sums_are_added_and_sites_have_no_weight() -> None:
    told = training_of(gradient_stage(federation={"fold": "coordinator"}), [6, 6, 6])
    assert write_totals(told) == "sums of patients' gradients (6 numbers a round)"
    assert not told.has_weights
    assert "totals are added" in write_combination(told)


@pytest.mark.parametrize("name", PLANNED)
def test_a_learner_sends_sums_of_rows_and_no_weights(name: str) -> None:
    told = training_of(stage_of(learner_plan(name, SITES)), [14_400])
    assert write_totals(told) == "sums of one bounded row per patient (14,400 numbers, once)"
    assert not told.has_weights
    assert "weight is" not in write_combination(told)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], ""),
        ([69, 2_485], " (69 and 2,485 numbers, by round)"),
        ([4, 4, 5], " (4 and 5 numbers, by round)"),
        ([4, 9, 2, 7], " (2 to 9 numbers a round)"),
    ],
)
def test_rounds_of_different_lengths_are_told_so(lengths: list[int], expected: str) -> None:
    told = training_of(stage_of(learner_plan("ridge", SITES)), lengths)
    assert write_totals(told) == f"sums of one bounded row per patient{expected}"


def test_a_release_holds_weights_or_the_numbers_of_its_learner() -> None:
    assert write_release(gradient_stage(), 14_403) == "14,403 trained weights"
    forest = stage_of(learner_plan("forest", SITES))
    assert write_release(forest, 14_400) == "14,400 numbers of forest"
