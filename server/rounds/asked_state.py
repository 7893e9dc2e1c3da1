"""What a stage asks about: a state of training, a release, a locked release, or the patients alone.

Imports the run folder and the release.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.run.folder import RunStore
from server.run.release import held_release
from shared.contract.protocol import Vector
from shared.contract.release import read_lock
from shared.contract.stages import ReleaseStage, Stage
from shared.errors import RunError


@dataclass(frozen=True, kw_only=True)
class AskedState:
    """The state [d] that a request carries, and the release and lock that it belongs to, if any."""

    vector: Vector
    release_sha256: str = ""
    lock_sha256: str = ""


def asked_state_of(store: RunStore, stage: Stage) -> AskedState:
    """What a stage that measures asks about: the run's release, or nothing but the patients.

    Raises:
        WeightsError: there is no release, or it is damaged.
        RunError: the release was not locked.
    """
    if not isinstance(stage, ReleaseStage):
        return AskedState(vector=np.zeros(0, dtype="<f4"))
    release = held_release(store)
    return AskedState(
        vector=release.weights,
        release_sha256=release.sha256,
        lock_sha256=lock_hash(store) if stage.patients == "accrued" else "",
    )


def lock_hash(store: RunStore) -> str:
    """Hash of the run's lock.

    Raises:
        RunError: the release was not locked.
    """
    if not store.lock_file.exists():
        raise RunError(
            "not-locked",
            "prospective validation needs a locked release",
            hint="run `osteofed-coordinator lock` first",
        )
    return read_lock(store.lock_file, coordinator_key=store.plan.coordinator_key).sha256
