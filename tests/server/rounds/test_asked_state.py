"""What a stage asks about: the release, the release under its lock, or nothing but the patients."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest

from server.rounds.asked_state import asked_state_of
from server.run.folder import RunStore
from server.run.release import lock_run
from shared.contract.stages import DescriptionStage
from shared.errors import RunError, WeightsError
from shared.signing.keys import load_key

Released = tuple[RunStore, dict[str, Path]]


def test_a_table_is_of_the_release_and_names_no_lock(released: Released) -> None:
    store, _ = released
    release = practice.release_of(store)
    for name in ("internal", "external"):
        subject = asked_state_of(store, store.plan.stage(name))
        np.testing.assert_array_equal(subject.vector, store.averaged())
        assert (subject.release_sha256, subject.lock_sha256) == (release.sha256, "")


def test_a_prospective_table_names_the_lock_and_needs_one(released: Released) -> None:
    store, _ = released
    stage = store.plan.stage("prospective")
    with pytest.raises(RunError) as caught:
        asked_state_of(store, stage)
    assert caught.value.code == "run.not-locked"
    key = load_key(store.home / "keys" / "coordinator.pem")
    lock = lock_run(store, key, now=datetime(2026, 1, 5, tzinfo=UTC), days=30)
    subject = asked_state_of(store, stage)
    assert subject.lock_sha256 == lock.sha256
    assert subject.release_sha256 == lock.release_sha256


def test_without_a_release_there_is_nothing_to_measure(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path)
    with pytest.raises(WeightsError) as caught:
        asked_state_of(store, store.plan.stage("internal"))
    assert caught.value.code == "weights.unreadable"


def test_a_description_is_of_the_patients_alone_and_can_come_before_a_release(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path)
    stage = DescriptionStage(
        name="description",
        roles=("training",),
        patients="everybody",
        release_class="dp",
        noise_multipliers=(1.0,),
        has_second_moments=False,
        target_low=0.0,
        target_high=1.0,
        minimum_cell=1,
    )
    subject = asked_state_of(store, stage)
    assert (subject.vector.size, subject.release_sha256, subject.lock_sha256) == (0, "", "")
