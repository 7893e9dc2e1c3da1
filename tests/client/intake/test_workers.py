"""Cores, and workers that read on while a result is looked at; failures are in ``test_films``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from practice_workers import note_time

from client.intake import workers as intake_workers
from client.intake.workers import ReadingRule, read_films, usable_cores

RULE = ReadingRule((), 64, None)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 1), ("10000 100000", 1), ("max 100000", 6), ("", 6)],
)
def test_cores_are_those_of_the_process_or_of_its_groups_quota(quota, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == expected
    assert usable_cores(tmp_path / "none") == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_read_on_while_a_result_is_looked_at(workers, monkeypatch):
    monkeypatch.setattr(intake_workers, "_serve", note_time)
    reads = read_films([Path(str(n)) for n in range(8)], RULE, workers=workers)
    next(reads)
    looked_from = time.time()
    time.sleep(0.5)  # longer than a film takes
    looked_to = time.time()
    times = [float(read.code) for read in reads]
    assert len(times) == 7
    assert sum(looked_from - 0.3 < at < looked_to for at in times) >= workers


def test_no_more_results_wait_for_their_turn_than_are_allowed(monkeypatch):
    monkeypatch.setattr(intake_workers, "_serve", note_time)
    given: list[int] = []
    give = intake_workers._Worker.give

    def noting(worker, index, path):
        given.append(index)
        give(worker, index, path)

    monkeypatch.setattr(intake_workers._Worker, "give", noting)
    for done, _ in enumerate(read_films([Path(str(n)) for n in range(40)], RULE, workers=2)):
        assert max(given) <= done + 4 * 2 + 1
    assert sorted(given) == list(range(40))
