"""Makes a release of a finished run, and locks one. Imports the run store and the release format."""

from __future__ import annotations

from datetime import datetime

from server.federation.folder import Home
from server.run.amendments import dropped_sites
from server.run.complete import require_complete
from server.run.folder import RunStore
from server.run.stopped import require_not_stopped
from shared.contract.decision import decision_of
from shared.contract.protocol import vector_sha256
from shared.contract.release import (
    Lock,
    Release,
    ReleaseRecord,
    lock_release,
    read_lock,
    read_release,
    write_lock,
    write_release,
)
from shared.errors import RunError, WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.signing.keys import SigningKey


def make_release(store: RunStore, key: SigningKey) -> Release:
    """Freeze the tail average of a finished run; a release that exists is returned as it is.

    Raises:
        RunError: the run is not finished, was stopped, or lacks a required site in its last round.
    """
    plan, folder = store.plan, store.release_folder
    if plan.release is None and not (folder / "release.json").exists():
        require_not_stopped(store)
        require_complete(store, store.training.stage)
        weights = store.averaged()
        record = ReleaseRecord(
            run=plan.run,
            plan_sha256=plan.sha256,
            weights_sha256=vector_sha256(weights),
            layout_sha256=plan.layout_sha256,
            encoder_sha256=plan.encoder_sha256,
            preprocessing=PREPROCESSING_VERSION,
            decision=decision_of(plan.settings),
            code_sha256=plan.code_sha256,
            ledger_heads=Home(store.home).heads_of(store.keys),
            rounds=store.training.last_committed().round,
            dropped={site: each.reason for site, each in dropped_sites(store).items()},
        )
        write_release(
            folder,
            record,
            weights,
            plan_file=store.folder / "plan.json",
            key=key,
            encoders={place: store.folder / place for place in plan.encoder_places.values()},
        )
    return held_release(store)


def held_release(store: RunStore) -> Release:
    """The release in a run's folder: the run's own, or the one that its plan measures.

    Raises:
        WeightsError: there is none, it is damaged, or not the one that the plan names.
    """
    release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    named = store.plan.release
    if named is not None and release.sha256 != named.release_sha256:
        raise WeightsError(
            "other-release",
            f"run {store.plan.run} holds release {release.sha256[:12]}, its plan measures "
            f"{named.release_sha256[:12]}",
            hint="write a new validation plan of the release that is to be measured",
        )
    return release


def lock_run(store: RunStore, key: SigningKey, *, now: datetime, days: int) -> Lock:
    """Lock a run's release for prospective validation, once; arguments as ``lock_release``.

    Raises:
        RunError: it is locked already; a lock is never moved.
    """
    if store.lock_file.exists():
        held = read_lock(store.lock_file, coordinator_key=store.plan.coordinator_key)
        raise RunError(
            "locked",
            f"the release of {store.plan.run} is locked since {held.locked_utc.isoformat()}",
            hint="a lock cannot be moved; train another run if another release is wanted",
        )
    lock = lock_release(
        make_release(store, key),
        store.plan,
        now=now,
        days=days,
        ledger_heads=Home(store.home).heads_of(store.keys),
    )
    write_lock(store.lock_file, lock, key)
    return lock
