"""A site that hangs costs two rounds their deadline, and has its part again once it answers a hello."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import practice_federation as practice
import pytest
from flwr.app import Message

from server.engines.local import LocalGrid, play_on
from server.rounds import exchange as exchange_module
from server.rounds.exchange import ABSENT, DEADLINE_PASSED
from server.rounds.excluded import MISSES_IN_A_ROW
from server.run.advice import awaited
from server.run.events import EXCLUDED, READMITTED
from server.run.folder import Event, RunStore
from server.run.holder import held

PATIENCE = {"liveness_s": 0.3, "round_deadline_s": 0.3}


class HangingGrid(LocalGrid):
    """A grid whose last site answers nothing, hello included, while some rounds are played."""

    def __init__(self, folders: Mapping[str, Path], *, hangs_in: Collection[int]) -> None:
        super().__init__(practice.app, folders)
        self.hangs_in, self.round = hangs_in, 0
        self.node = list(self.get_node_ids())[-1]
        self.asked: list[int] = []
        self._of_it: set[str] = set()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names: list[str] = []
        for message in messages:
            metadata = message.metadata
            is_for_it = metadata.dst_node_id == self.node
            stage, _, number = metadata.group_id.rpartition("-")
            if stage == "train":
                self.round = int(number)
                self.asked += [self.round] if is_for_it else []
            pushed = list(super().push_messages([message]))
            self._of_it |= set(pushed) if is_for_it else set()
            names += pushed
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        hangs = self.round in self.hangs_in
        return super().pull_messages(
            [name for name in message_ids if not (hangs and name in self._of_it)]
        )


@pytest.fixture(autouse=True)
def greets_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "GREET_AGAIN_S", 0.0)


def missing(store: RunStore) -> dict[int, str]:
    rounds = range(1, store.training.last_committed().round + 1)
    return {n: code for n in rounds for code in store.training.missing(n).values()}


def test_a_site_that_hangs_is_excluded_after_repeated_failure_and_readmitted(tmp_path: Path) -> None:
    settings = practice.practice_settings(rounds=8, federation=PATIENCE)
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=3)
    grid = HangingGrid(folders, hangs_in=(2, 3, 4, 6))
    play_on(grid, store.folder, stage="train")
    assert MISSES_IN_A_ROW == 2
    assert missing(store) == {
        **{2: DEADLINE_PASSED, 3: DEADLINE_PASSED},
        **{4: EXCLUDED, 5: EXCLUDED},  # it still hung in round 4, and round 5 did not wait for it
        **{6: DEADLINE_PASSED, 7: EXCLUDED},  # readmitted, and out again at once
    }
    assert set(grid.asked) == {1, 2, 3, 6, 8}, "a site that is excluded is asked"
    told = [(event.code, event.round) for event in store.events() if event.site == "site-2"]
    assert told == [
        *((DEADLINE_PASSED, 2), (DEADLINE_PASSED, 3), (EXCLUDED, 4), (EXCLUDED, 5)),
        *((READMITTED, 6), (DEADLINE_PASSED, 6), (EXCLUDED, 7), (READMITTED, 8)),
    ]


def test_misses_that_are_not_in_a_row_exclude_nobody(tmp_path: Path) -> None:
    settings = practice.practice_settings(rounds=5, federation=PATIENCE)
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=3)
    play_on(HangingGrid(folders, hangs_in=(2, 4)), store.folder, stage="train")
    assert missing(store) == {2: DEADLINE_PASSED, 4: DEADLINE_PASSED}


def test_a_required_site_is_never_excluded(tmp_path: Path) -> None:
    settings = practice.practice_settings(rounds=5, federation=PATIENCE)
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=3, is_required=True)
    grid = HangingGrid(folders, hangs_in=(2, 3, 4))
    play_on(grid, store.folder, stage="train")
    assert missing(store) == dict.fromkeys((2, 3, 4), DEADLINE_PASSED)
    assert set(grid.asked) == {1, 2, 3, 4, 5}


def test_a_run_that_is_resumed_greets_an_excluded_site_afresh(tmp_path: Path) -> None:
    settings = practice.practice_settings(rounds=6, federation=PATIENCE)
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=3)
    grid = HangingGrid(folders, hangs_in=(2, 3, 4))
    there = grid.get_nodes

    def pauses_in_round_4():
        if grid.round == 4:
            store.pause()
        return there()

    grid.get_nodes = pauses_in_round_4  # type: ignore[method-assign]
    with pytest.raises(Exception, match="paused after round 4"):
        play_on(grid, store.folder, stage="train")
    play_on(HangingGrid(folders, hangs_in=()), store.folder, stage="train")
    assert missing(store) == {2: DEADLINE_PASSED, 3: DEADLINE_PASSED, 4: EXCLUDED}
    assert Event(round=5, site="site-2", code=READMITTED) in store.events()


def test_nobody_waits_for_an_excluded_site(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2)
    with held(store, "stage", what="stage train"):
        store.log(Event(round=1, site="site-0", code=ABSENT))
        store.log(Event(round=1, site="site-1", code=EXCLUDED))
        assert awaited(store) == ("site-0",)
