"""The small federation of real processes: which stages it plays, and what it says was seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest

from server.demo import loopback
from server.demo.deployment import StageResult
from server.report.answers import Answer
from server.run.folder import RunStore


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that were asked of the processes, which are left out here; each took 2 seconds."""
    store, folders = practice.found_federation(tmp_path, n_external=1)
    asked: list[str] = []

    def deploy(
        _home: Path, _run: Path, _sites: object, stages: Sequence[str], **_: object
    ) -> list[StageResult]:
        asked.extend(stages)
        return [StageResult(stage, 2.0) for stage in stages]

    monkeypatch.setattr(loopback, "prepare_federation", lambda *_, **__: (store, folders))
    monkeypatch.setattr(loopback, "deploy_loopback", deploy)
    monkeypatch.setattr(loopback, "answers_to", answers)
    return asked


def answers(_: RunStore, __: object) -> tuple[Answer, ...]:
    statuses = ("measured", "missing", "not-applicable", "measured")
    return tuple(
        Answer(f"site-{number}", status, "", np.zeros(0)) for number, status in enumerate(statuses)
    )


def test_what_waits_for_a_lock_is_not_played(tmp_path: Path, played: list[str]) -> None:
    loopback.play_loopback(tmp_path / "any", overrides=[])
    assert played == ["train", "internal", "external"]


def test_only_sites_that_measured_are_counted(tmp_path: Path, played: list[str]) -> None:
    facts = loopback.play_loopback(tmp_path / "any", overrides=[])
    assert facts["measured sites, internal"] == facts["measured sites, external"] == 2
    assert [facts[f"seconds, {stage}"] for stage in played] == [2.0] * 3
