"""Releases and locks: whole or refused, and a lock is never moved."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from server.federation.compose import compose_settings
from server.federation.folder import Enrolled, Home, create_home
from server.federation.plan import draft_plan, save_plan
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.run.release import held_release, lock_run, make_release
from server.run.stage_folder import Contribution, RoundState
from shared.contract.release import Release, read_lock, read_release
from shared.errors import RunError, WeightsError
from shared.signing.keys import create_key
from shared.stages.stage_sum import StageState

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Home, RunStore]:
    """A run whose rounds are over."""
    home = create_home(tmp_path / "home")
    site = Enrolled(
        site="aster", public_key="1" * 64, declared_patients=100, role="training", enrolled_utc=""
    )
    settings = compose_settings(["fusion=linear", "federation.rounds=1"])
    key = home.key().public_hex
    save_plan(home, draft_plan(settings, [site], run="spring", coordinator_key=key, now=NOW))
    store = prepare(home, "spring")
    weights = np.linspace(-1, 1, store.training.last_committed().vector.size, dtype=np.float32)
    part = Contribution(site="aster", weight=1.0, total_sha256="1" * 64, ledger_head="")
    store.training.commit(RoundState(state=StageState(round=1, vector=weights), contributions=(part,)))
    store.write_averaged(weights)
    return home, store


def test_a_release_is_read_back_with_its_plan_and_weights(finished: tuple[Home, RunStore]) -> None:
    home, store = finished
    made = make_release(store, home.key())
    found = read_release(store.release_folder, coordinator_key=home.key().public_hex)
    assert found.sha256 == made.sha256
    assert found.plan == store.plan
    np.testing.assert_array_equal(found.weights, store.averaged())
    assert make_release(store, home.key()).sha256 == made.sha256


def test_weights_that_were_exchanged_are_refused(finished: tuple[Home, RunStore]) -> None:
    home, store = finished
    make_release(store, home.key())
    np.save(store.release_folder / "weights.npy", store.averaged() * 1.01)
    with pytest.raises(WeightsError, match="do not belong together"):
        read_release(store.release_folder, coordinator_key=home.key().public_hex)


def test_a_release_of_another_coordinator_is_refused(
    finished: tuple[Home, RunStore], tmp_path: Path
) -> None:
    home, store = finished
    make_release(store, home.key())
    other = create_key(tmp_path / "other.pem").public_hex
    with pytest.raises(WeightsError, match="not signed by the coordinator"):
        read_release(store.release_folder, coordinator_key=other)


def test_a_plan_that_measures_one_release_takes_no_other(finished: tuple[Home, RunStore]) -> None:
    home, store = finished
    made = make_release(store, home.key())

    def held(release_sha256: str) -> Release:
        named = SimpleNamespace(release_sha256=release_sha256)
        plan = store.plan.model_copy(update={"release": named})
        return held_release(SimpleNamespace(plan=plan, release_folder=store.release_folder))

    assert held(made.sha256).sha256 == made.sha256
    with pytest.raises(WeightsError) as caught:
        held("9" * 64)
    assert caught.value.code == "weights.other-release"


def test_an_unfinished_run_has_no_release(finished: tuple[Home, RunStore]) -> None:
    home, store = finished
    (store.folder / "averaged.safetensors").unlink(missing_ok=True)
    for path in store.folder.rglob("averaged*"):
        path.unlink()
    with pytest.raises(RunError) as caught:
        make_release(store, home.key())
    assert caught.value.code == "run.not-finished"


def test_a_lock_pins_weights_rule_and_time_and_cannot_be_moved(
    finished: tuple[Home, RunStore],
) -> None:
    home, store = finished
    lock = lock_run(store, home.key(), now=NOW, days=30)
    assert lock.weights_sha256 == make_release(store, home.key()).record.weights_sha256
    assert read_lock(store.lock_file, coordinator_key=home.key().public_hex) == lock
    with pytest.raises(RunError, match="locked since"):
        lock_run(store, home.key(), now=datetime(2027, 1, 1, tzinfo=UTC), days=30)


def test_a_lock_whose_date_was_changed_is_refused(finished: tuple[Home, RunStore]) -> None:
    home, store = finished
    lock_run(store, home.key(), now=NOW, days=30)
    text = store.lock_file.read_text().replace("2026-01-05", "2025-01-05")
    store.lock_file.write_text(text)
    with pytest.raises(WeightsError, match="not signed"):
        read_lock(store.lock_file, coordinator_key=home.key().public_hex)
