"""Places of a split: a public quantile of its share of the declared size, whoever is there."""

from __future__ import annotations

from fractions import Fraction
from math import comb
from pathlib import Path

import pytest

from shared.contract.capacity import OVERFLOW, binomial_quantile, capacity_of
from shared.exam.schema import SplitRule

ROOT = Path(__file__).resolve().parents[3]
RULE = SplitRule(train=0.7, tune=0.1, internal=0.2)


def exceeding(k: int, n: int, share: Fraction) -> Fraction:
    """P(X > k), added up exactly."""
    return sum(
        (comb(n, j) * share**j * (1 - share) ** (n - j) for j in range(k + 1, n + 1)), Fraction(0)
    )


@pytest.mark.parametrize(("n", "share"), [(10, "7/10"), (143, "7/10"), (200, "1/5"), (37, "1/2")])
def test_a_quantile_is_exceeded_at_most_so_often_and_one_place_less_more_often(
    n: int, share: str
) -> None:
    found, chance = binomial_quantile(n, float(Fraction(share))), Fraction(share)
    assert exceeding(found, n, chance) <= OVERFLOW
    if found > 0:
        assert exceeding(found - 1, n, chance) > OVERFLOW


def test_where_nothing_is_left_to_chance_there_is_no_place_too_many() -> None:
    assert [binomial_quantile(50, share) for share in (0.0, 1.0)] == [0, 50]
    assert capacity_of(SplitRule(train=1.0, tune=0.0, internal=0.0), "train", declared=60) == 60


def test_a_training_split_of_the_declared_size_has_about_six_standard_deviations_to_spare() -> None:
    # 1,000 of 1,429 train: a standard deviation is 17.3
    assert 1000 + 5.8 * 17.3 < capacity_of(RULE, "train", declared=1000) < 1000 + 6.2 * 17.3
    assert capacity_of(RULE, "train", declared=140) <= 1.3 * 140


def test_everybody_is_as_large_a_cohort_as_has_a_full_training_split() -> None:
    trains = capacity_of(RULE, "train", declared=140)
    assert capacity_of(RULE, "everybody", declared=140) == int(trains / 0.7)
    assert capacity_of(RULE, "accrued", declared=140) == int(trains / 0.7)
    assert capacity_of(RULE, "everybody", declared=140) >= 200


def test_splits_of_a_tables_own_column_have_the_places_of_everybody() -> None:
    own = RULE.model_copy(update={"column": "side"})
    assert capacity_of(RULE, "internal", declared=140) == binomial_quantile(200, 0.2)
    everybody = capacity_of(RULE, "everybody", declared=140)
    assert capacity_of(own, "internal", declared=140) == everybody
    assert capacity_of(own, "train", declared=140) == everybody


def test_a_larger_declared_size_has_no_fewer_places() -> None:
    for group in ("train", "internal", "everybody"):
        found = [capacity_of(RULE, group, declared=n) for n in range(1, 300)]  # type: ignore[arg-type]
        assert found == sorted(found)


def test_the_places_that_the_explanation_names_are_these() -> None:
    text = (ROOT / "docs" / "explanation" / "privacy-and-ledger.md").read_text()
    small, large = (capacity_of(RULE, "train", declared=n) for n in (140, 1400))
    assert f"140 declared patients have {small} places to train in, 1400 have {large}." in text


def test_a_cohort_that_is_only_measured_on_has_the_places_of_its_declared_size() -> None:
    outside = SplitRule(train=0.0, tune=0.0, internal=1.0)
    assert capacity_of(outside, "internal", declared=80) == 80
    assert capacity_of(outside, "everybody", declared=80) == 80
