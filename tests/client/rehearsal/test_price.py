"""What would stop a plan here: too few patients, or a life's budget overspent."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_site import make_policy

from client.rehearsal.price import Price, find_shortages
from client.site.policy import PolicySettings


@pytest.fixture
def policy(tmp_path: Path) -> PolicySettings:
    return make_policy(tmp_path, minimum_cohort_patients=50, minimum_cell=10, epsilon_lifetime=8.0)


def price(purpose: str = "training", *, n: int = 50, least: int = 50, after: float = 8.0) -> Price:
    return Price(
        purpose=purpose,
        n_patients=n,
        least_patients=least,
        run_epsilon=3.0,
        spent_before=1.0,
        spent_after=after,
        left_after=0.0,
    )


def test_the_least_and_the_most_that_are_allowed_are_no_shortage(policy: PolicySettings) -> None:
    assert find_shortages(policy, [price(), price("internal validation", n=10, least=10)]) == []


def test_training_needs_a_cohort_and_a_table_a_cell(policy: PolicySettings) -> None:
    [few] = find_shortages(policy, [price(n=49), price("internal validation", n=10, least=10)])
    assert few == "training: 49 patients are fewer than the minimum of 50"
    [few] = find_shortages(policy, [price("internal validation", n=9, least=10)])
    assert few == "internal validation: 9 patients are fewer than the minimum of 10"


def test_more_than_a_lifes_budget_is_said(policy: PolicySettings) -> None:
    [over] = find_shortages(policy, [price(after=8.001)])
    assert over.startswith("training: some patients would have spent epsilon 8.00 for life")
    assert len(find_shortages(policy, [price(n=1, after=9.0)])) == 2
