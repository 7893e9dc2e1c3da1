"""Signed amendments of a run: a site that a person has dropped from it, and why.

    <run>/amendments/SITE.json   signed by the coordinator

A dropped site gets no message any more and is required no more; what it sent before stays. Release and
report name it with the reason. Imports the run store and how records are signed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, model_validator

from server.run.folder import Event, RunStore
from shared.contract.release import read_signed, write_signed
from shared.contract.stages import Stage
from shared.errors import RunError
from shared.signing.keys import SigningKey
from shared.strict import FROZEN, require_printable

DROPPED = "run.site-dropped"


class Amendment(BaseModel):
    """One site less in one run.

    Attributes:
        version: of this file's format.
        plan_sha256: hash of the run's plan.
        site: that is dropped.
        reason: in the words of the person who dropped it.
        dropped_utc: when.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    plan_sha256: str
    site: str
    reason: str = Field(min_length=1, max_length=300)
    dropped_utc: AwareDatetime

    @model_validator(mode="before")
    @classmethod
    def _is_printable(cls, values: object) -> object:
        return require_printable(values)


def drop_site(store: RunStore, site: str, *, reason: str, key: SigningKey, now: datetime) -> Amendment:
    """Drop a site from a run, once; the run is told as an event.

    Args:
        store: a run, begun or not.
        site: one of its roster.
        reason: one line of at most 300 characters.
        key: the coordinator's.
        now: when.

    Raises:
        ProtocolError: the site is not on the roster.
        RunError: it was dropped before, or the reason is none.
    """
    store.plan.entry(site)
    held = dropped_sites(store).get(site)
    if held is not None:
        raise RunError(
            "dropped-before",
            f"{site} was dropped from run {store.plan.run} on {held.dropped_utc.date()}: {held.reason}",
            hint="an amendment is not taken back; plan another run with this site",
        )
    try:
        amendment = Amendment(
            plan_sha256=store.plan.sha256, site=site, reason=reason.strip(), dropped_utc=now
        )
    except ValidationError:
        raise RunError(
            "no-reason",
            "a reason must be one line of 1 to 300 printable characters",
            hint="it stands in the release and in the report",
        ) from None
    write_signed(store.folder / "amendments" / f"{site}.json", amendment, key)
    store.log(Event(round=0, site=site, code=DROPPED))
    return amendment


def dropped_sites(store: RunStore) -> dict[str, Amendment]:
    """The amendments of a run by site, in roster order.

    Raises:
        WeightsError: one is damaged, or not signed by the coordinator.
        RunError: one is of another run or site.
    """
    found = {}
    for entry in store.plan.roster:
        path = store.folder / "amendments" / f"{entry.site}.json"
        if not path.exists():
            continue
        amendment = read_signed(path, Amendment, store.plan.coordinator_key)
        if (amendment.plan_sha256, amendment.site) != (store.plan.sha256, entry.site):
            raise RunError("wrong-amendment", f"{path.name} amends another run, or another site of it")
        found[entry.site] = amendment
    return found


def required_sites(store: RunStore, stage: Stage) -> tuple[str, ...]:
    """The sites without whose result a stage is not complete, in roster order."""
    dropped = dropped_sites(store)
    asked = store.plan.asked(stage)
    return tuple(entry.site for entry in asked if entry.is_required and entry.site not in dropped)
