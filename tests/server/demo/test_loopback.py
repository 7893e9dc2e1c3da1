"""The small federation of real processes: which stages it plays, and what it says was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest

from server.demo import loopback
from server.engines.loopback import StageResult
from server.report.answers import Answer
from server.run.folder import RunStore
from server.synthetic.hospitals import DEMO_SITES


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


def test_a_deployed_federation_is_small_unless_it_is_asked_for_otherwise(
    tmp_path: Path, played: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    prepared = loopback.prepare_federation(tmp_path, [], sites=())

    def prepare(_: Path, overrides: Sequence[str], **__: object) -> object:
        asked.append(list(overrides))
        return prepared

    monkeypatch.setattr(loopback, "prepare_federation", prepare)
    loopback.play_loopback(tmp_path / "any", overrides=[])
    loopback.play_loopback(tmp_path / "any", overrides=["federation.rounds=9", "fusion=linear"])
    loopback.play_loopback(tmp_path / "any", overrides=["experiment=cssc"])
    assert asked == [
        ["engine=deployed", "federation.rounds=3", "federation.poll_s=0.05"],
        ["engine=deployed", "federation.poll_s=0.05", "federation.rounds=9", "fusion=linear"],
        ["engine=deployed", "federation.poll_s=0.05", "experiment=cssc"],  # has sums of its own
    ]


def test_the_release_is_made_once_between_training_and_measuring(
    tmp_path: Path, played: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[int] = []

    def deploy(*arguments: Sequence[str], after_stage: Callable[[str], None]) -> list[StageResult]:
        for stage in arguments[3]:
            played.append(stage)
            after_stage(stage)
        return [StageResult(stage, 2.04) for stage in arguments[3]]

    monkeypatch.setattr(loopback, "deploy_loopback", deploy)
    monkeypatch.setattr(loopback, "make_release", lambda *_: released.append(len(played)))
    facts = loopback.play_loopback(tmp_path / "any", overrides=[])
    assert released == [1], "after the first stage, which trains"
    assert facts["seconds, train"] == 2.0
    assert facts["committed rounds"] == 0
    assert facts["missing updates"] == 0


def test_the_small_hospitals_are_the_demos_with_defects() -> None:
    sites = loopback.small_sites()
    assert [(site.name, site.n_patients) for site in sites] == list(loopback.PATIENTS.items())
    assert {site.defects.truncated_films for site in sites} == {1}
    assert [site.scanners for site in sites] == [site.scanners for site in DEMO_SITES]


def test_only_sites_that_measured_are_counted(tmp_path: Path, played: list[str]) -> None:
    facts = loopback.play_loopback(tmp_path / "any", overrides=[])
    assert facts["measured sites, internal"] == facts["measured sites, external"] == 2
    assert [facts[f"seconds, {stage}"] for stage in played] == [2.0] * 3
