"""Who must be there for a round: by hand for two required sites of four, and a quorum of a half."""

from __future__ import annotations

from pathlib import Path

import practice_federation as practice
import pytest

from server.rounds.enough import needed_in, required_in, what_lacks
from server.run.folder import RunStore

ALL = [f"site-{number}" for number in range(4)]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path, is_required=True)[0]


def lacks(store: RunStore, number: int, present: list[str]) -> str:
    return what_lacks(store, store.training.stage, number, present=present, of="updates arrived")


def test_both_ends_of_a_training_need_every_required_site(store: RunStore) -> None:
    assert [list(required_in(store, store.training.stage, number)) for number in (1, 2, 3)] == [
        ALL,
        [],
        ALL,
    ]
    three = ALL[:3]
    assert lacks(store, 1, three) == "required sites ['site-3'] are missing in the first round"
    assert lacks(store, 2, three) == ""
    assert lacks(store, 3, three) == "required sites ['site-3'] are missing in the last round"
    assert lacks(store, 3, ALL) == ""


def test_below_the_quorum_a_round_says_how_many_it_needs(store: RunStore) -> None:
    assert needed_in(store, store.training.stage) == 2
    assert lacks(store, 2, ALL[:1]) == "1 of at least 2 updates arrived"
    assert lacks(store, 2, ALL[1:3]) == ""
