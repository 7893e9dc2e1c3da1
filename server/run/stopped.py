"""The end of a run before its release, by a person: a signed record, which is not taken back.

    <run>/stopped.json   signed by the coordinator

Sites get no message of a stopped run any more, no stage of it is played, and no release is made of it.
Imports the run store and how records are signed.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, model_validator

from server.run.folder import Event, RunStore
from shared.contract.release import read_signed, write_signed
from shared.errors import RunError
from shared.signing.keys import SigningKey
from shared.strict import FROZEN, require_printable

STOPPED = "run.stopped"


class Stop(BaseModel):
    """One run that is closed for good.

    Attributes:
        version: of this file's format.
        plan_sha256: hash of the run's plan.
        reason: in the words of the person who stopped it.
        stopped_utc: when.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    plan_sha256: str
    reason: str = Field(min_length=1, max_length=300)
    stopped_utc: AwareDatetime

    @model_validator(mode="before")
    @classmethod
    def _is_printable(cls, values: object) -> object:
        return require_printable(values)


def stop_run(store: RunStore, *, reason: str, key: SigningKey, now: datetime) -> Stop:
    """Close a run for good, once; the run is told as an event.

    Args:
        store: a run, played or not.
        reason: one line of at most 300 characters.
        key: the coordinator's.
        now: when.

    Raises:
        RunError: it was stopped before, its own release is made, or the reason is none.
    """
    require_not_stopped(store)
    if store.plan.trained is not None and (store.release_folder / "release.json").exists():
        raise RunError(
            "released-before",
            f"run {store.plan.run} has its release, and nothing of it goes on that could be stopped",
            hint="a plan that measures the release is a run of its own, which can be stopped",
        )
    try:
        stop = Stop(plan_sha256=store.plan.sha256, reason=reason.strip(), stopped_utc=now)
    except ValidationError:
        raise RunError(
            "no-reason",
            "a reason must be one line of 1 to 300 printable characters",
            hint="it is kept in the run's folder, and `status` shows it",
        ) from None
    write_signed(_file(store), stop, key)
    store.log(Event(round=0, site="", code=STOPPED))
    return stop


def stop_of(store: RunStore) -> Stop | None:
    """The record of a run's end by a person; None: it was not stopped.

    Raises:
        WeightsError: it is damaged, or not signed by the coordinator.
        RunError: it is of another run.
    """
    if not _file(store).exists():
        return None
    stop = read_signed(_file(store), Stop, store.plan.coordinator_key)
    if stop.plan_sha256 != store.plan.sha256:
        raise RunError("wrong-amendment", f"{_file(store).name} is of another run")
    return stop


def require_not_stopped(store: RunStore) -> None:
    """Refuse to go on with a run that a person has closed for good.

    Raises:
        RunError: it was stopped, when and why.
    """
    stop = stop_of(store)
    if stop is not None:
        raise RunError(
            "stopped",
            f"run {store.plan.run} was stopped for good on {stop.stopped_utc.date()}: {stop.reason}",
            hint="a stop is not taken back: plan another run; what patients have paid stays charged",
        )


def _file(store: RunStore) -> Path:
    return store.folder / "stopped.json"
