"""A run's folder is laid out once, from the signed plan, and starts where the plan says."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from server.federation.compose import compose_settings
from server.federation.folder import Enrolled, Home, create_home
from server.federation.plan import draft_plan, save_plan
from server.run.prepare import prepare
from server.run.room import FULL
from server.run.stage_folder import RoundState
from shared.contract.protocol import vector_sha256
from shared.errors import OsteoFedError, RunError
from shared.signing.keys import create_key
from shared.stages.stage_sum import StageState

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NO_FILMS = ("encoder=none", "fusion=clinical_only")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "home")


def planned(home: Home, *overrides: str) -> None:
    site = Enrolled(
        site="aster", public_key="1" * 64, declared_patients=100, role="training", enrolled_utc=""
    )
    key = home.key().public_hex
    settings = compose_settings(overrides)
    save_plan(home, draft_plan(settings, [site], run="spring", coordinator_key=key, now=NOW))


@pytest.mark.parametrize("learner", ["gradient", "second_moments"])
def test_a_run_starts_from_the_state_whose_hash_is_in_the_plan(home: Home, learner: str) -> None:
    planned(home, *NO_FILMS, f"learner={learner}")
    store = prepare(home, "spring")
    state = store.training.last_committed()
    assert state.round == 0
    assert vector_sha256(state.vector) == store.plan.initial_weights_sha256
    assert not store.encoder_file.exists()


def test_the_encoder_that_the_plan_names_is_kept_beside_it(home: Home) -> None:
    planned(home, "fusion=linear")
    store = prepare(home, "spring")
    assert store.plan.encoder_sha256
    assert store.encoder_file.stat().st_size > 0


def test_a_disk_that_is_full_at_the_first_launch_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(home, *NO_FILMS)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("server.run.stage_folder.write_vectors", full)
    with pytest.raises(RunError, match="round 1 needs") as caught:
        prepare(home, "spring")
    assert caught.value.code == FULL
    monkeypatch.undo()
    assert prepare(home, "spring").training.last_committed().round == 0


def test_a_run_that_has_begun_is_opened_and_not_laid_out_again(home: Home) -> None:
    planned(home, *NO_FILMS)
    store = prepare(home, "spring")
    moved = np.ones_like(store.training.last_committed().vector)
    store.training.commit(RoundState(state=StageState(round=1, vector=moved)))
    again = prepare(home, "spring").training.last_committed()
    assert again.round == 1
    assert np.array_equal(again.vector, moved)


def test_a_run_without_a_plan_and_a_plan_of_another_coordinator_are_refused(home: Home) -> None:
    with pytest.raises(OsteoFedError) as caught:
        prepare(home, "spring")
    assert caught.value.code == "run.unknown-run"
    planned(home, *NO_FILMS)
    home.key_file.unlink()
    create_key(home.key_file)
    with pytest.raises(OsteoFedError) as caught:
        prepare(home, "spring")
    assert caught.value.code == "plan.changed"
    assert not (home.run_folder("spring") / "run.json").exists()
