"""A run that a person closes for good: signed, once, asked no more, and no release is made of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import practice_federation as practice
import pytest
from faulty_grid import Fault, run_with_faults

from server.engines.local import run_local
from server.federation.folder import Home
from server.run.folder import RunStore
from server.run.release import make_release
from server.run.stopped import STOPPED, Stop, require_not_stopped, stop_of, stop_run
from shared.errors import RunError, WeightsError

NOW = datetime(2026, 1, 5, tzinfo=UTC)
REASON = "the cohort was frozen by mistake"
Founded = tuple[RunStore, dict[str, Path]]


def stop(store: RunStore, reason: str = REASON) -> Stop:
    return stop_run(store, reason=reason, key=Home(store.home).key(), now=NOW)


def trained(folder: Path) -> int:
    log = folder / "trained.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return practice.found_federation(tmp_path, n_sites=2)


def test_a_stopped_run_is_read_back_with_the_reason_and_the_run_is_told(founded: Founded) -> None:
    store, _ = founded
    assert stop_of(store) is None
    require_not_stopped(store)
    made = stop(store)
    assert stop_of(store) == made
    assert (made.reason, made.stopped_utc) == (REASON, NOW)
    assert [(event.site, event.code) for event in store.events()] == [("", STOPPED)]
    with pytest.raises(RunError, match=f"for good on 2026-01-05: {REASON}") as caught:
        stop(store, "another reason")
    assert caught.value.code == STOPPED


@pytest.mark.parametrize("reason", ["", "  ", "x" * 301, "fine\x1b[2J", "two\nlines"])
def test_a_reason_is_one_printable_line(founded: Founded, reason: str) -> None:
    store, _ = founded
    with pytest.raises(RunError) as caught:
        stop(store, reason)
    assert caught.value.code == "run.no-reason"
    assert stop_of(store) is None


def test_a_record_that_was_edited_or_is_of_another_run_counts_for_nothing_in_silence(
    founded: Founded, tmp_path: Path
) -> None:
    store, _ = founded
    second, _ = practice.found_federation(tmp_path, n_sites=2, run="second")
    stop(store)
    path = store.folder / "stopped.json"
    (second.folder / "stopped.json").write_bytes(path.read_bytes())
    with pytest.raises(RunError) as caught:
        stop_of(second)
    assert caught.value.code == "run.wrong-amendment"
    path.write_text(path.read_text().replace("mistake", "purpose"))
    with pytest.raises(WeightsError, match="not signed"):
        stop_of(store)


def test_a_stopped_run_asks_no_site_and_makes_no_release(founded: Founded) -> None:
    store, folders = founded
    stop(store)
    with pytest.raises(RunError) as caught:
        run_local(store.folder, folders, client_app=practice.app)
    assert caught.value.code == STOPPED
    assert [trained(folder) for folder in folders.values()] == [0, 0]


def test_a_stop_reaches_the_sites_before_they_charge_another_round_and_waits_for_none(
    founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders = founded
    log = RunStore.log

    def log_and_stop(it: RunStore, event) -> None:
        log(it, event)
        if event.code == "protocol.not-finite":  # site-1 has yet to answer round 2
            stop(store)

    monkeypatch.setattr(RunStore, "log", log_and_stop)
    faults = [
        Fault(site="site-0", round=2, kind="corrupt-nan"),
        Fault(site="site-1", round=2, kind="drop"),
    ]
    began = time.monotonic()
    with pytest.raises(RunError) as caught:
        run_with_faults(store.folder, folders, client_app=practice.app, faults=faults)
    assert caught.value.code == STOPPED
    assert time.monotonic() - began < store.plan.settings.patience.round_deadline_s
    assert store.training.last_committed().round == 1
    assert [trained(folder) for folder in folders.values()] == [2, 2], "nobody is asked for round 3"


def test_no_release_is_made_of_a_run_that_was_stopped_in_its_last_round(founded: Founded) -> None:
    store, folders = founded
    run_local(store.folder, folders, client_app=practice.app)
    stop(store)
    with pytest.raises(RunError) as caught:
        make_release(store, Home(store.home).key())
    assert caught.value.code == STOPPED
    assert not (store.release_folder / "release.json").exists()


def test_a_run_with_its_release_cannot_be_stopped(founded: Founded) -> None:
    store, folders = founded
    run_local(store.folder, folders, client_app=practice.app)
    practice.release_of(store)
    with pytest.raises(RunError) as caught:
        stop(store)
    assert caught.value.code == "run.released-before"
    assert stop_of(store) is None
