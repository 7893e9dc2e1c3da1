"""A hospital publishes a size of a public list, and what is none of it is answered by the next ones."""

from __future__ import annotations

from itertools import pairwise

import pytest

from client.site.declared import BUCKETS, require_bucket
from shared.errors import PolicyError


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


def test_every_size_of_the_list_is_taken() -> None:
    for size in BUCKETS:
        require_bucket(size)
