"""A hospital publishes a size of a public list, and what is none of it is answered by the next ones."""

from __future__ import annotations

from itertools import pairwise

import pytest

from client.site.declared import BUCKETS, bucket_for, exceeds, require_bucket, require_places
from shared.contract.stages import PatientGroup
from shared.errors import IntakeError, PolicyError
from shared.exam.schema import SplitRule


def test_sizes_rise_by_a_third_at_most_so_that_the_nearest_is_near() -> None:
    steps = [after / before for before, after in pairwise(BUCKETS)]
    assert min(steps) > 1
    assert max(steps) <= 4 / 3 + 1e-9
    assert (BUCKETS[0], BUCKETS[10], BUCKETS[-1]) == (10, 100, 800_000)


@pytest.mark.parametrize(
    ("size", "near"),
    [
        (1, "10"),
        (9, "10"),
        (11, "10 or 12"),
        (99, "80 or 100"),
        (110, "100 or 120"),
        (799_999, "600000 or 800000"),
        (900_000, "800000"),
    ],
)
def test_a_size_between_two_is_refused_by_their_names(size: int, near: str) -> None:
    with pytest.raises(PolicyError, match=f"list, {near}, not {size}") as caught:
        require_bucket(size)
    assert caught.value.code == "policy.no-bucket"


RULE = SplitRule(train=0.7, tune=0.1, internal=0.2)


def test_a_cohort_of_the_declared_size_has_places_and_one_far_above_it_has_none() -> None:
    sizes: dict[PatientGroup, int] = {"train": 105, "internal": 30, "everybody": 150}
    assert exceeds(sizes, RULE, declared_patients=100) == ()
    require_places(sizes, RULE, declared_patients=100)
    assert exceeds(sizes, RULE, declared_patients=60) == ("train", "everybody")
    with pytest.raises(IntakeError, match="declared size of 60 has places for") as caught:
        require_places(sizes, RULE, declared_patients=60)
    assert caught.value.code == "intake.over-capacity"
    assert "105" not in str(caught.value), "a count is a patient's value"
    assert "publish 80" in caught.value.hint


def test_the_size_to_publish_is_the_least_that_has_places_for_every_group() -> None:
    sizes: dict[PatientGroup, int] = {"train": 105, "everybody": 150}
    least = bucket_for(sizes, RULE)
    before = BUCKETS[BUCKETS.index(least) - 1]
    assert not exceeds(sizes, RULE, declared_patients=least)
    assert exceeds(sizes, RULE, declared_patients=before)
    assert bucket_for({"train": 10**9}, RULE) == BUCKETS[-1]


def test_every_size_of_the_list_is_taken() -> None:
    for size in BUCKETS:
        require_bucket(size)
