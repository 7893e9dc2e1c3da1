"""The file that a hospital writes when it measures a release by a plan of its own, and that plan.

It holds the table of a hospital that never trained the release, or a comparison of the release with a
hospital's local training and without; the weights of that training are not in it.

::

    version   of this format
    epsilon   that the hospital asked for; null: as in the release's own plan
    plan      the validation plan or local plan that the hospital wrote for itself, by value
    reply     the noised total, as it would have answered a coordinator, with the site's signature

The signature covers plan, release and table by their hashes. Nothing in the plan is the hospital's
choice but its name, key, declared patients, day and ε: whoever holds the release writes the same plan
from these and compares. Imports the validation plan and the packing of messages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydantic import ValidationError

from shared.contract.model_settings import follow_up_of
from shared.contract.payload import pack, unpack
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import SumReply
from shared.contract.release import Release
from shared.contract.stages import MeasureStage, TableStage
from shared.errors import OsteoFedError, PlanError, ProtocolError, WeightsError
from shared.signing.canonical import canonical_json
from shared.signing.code_hash import installed_code_hash
from shared.stages.local_plan import local_plan
from shared.stages.validation_plan import role_in, validation_plan

EXTERNAL_VERSION: Final = 1


@dataclass(frozen=True)
class ExternalFile:
    """One hospital's table of a release, or comparison with it, and the plan by which it was made."""

    plan: Plan
    epsilon: float | None
    reply: SumReply

    @property
    def entry(self) -> RosterEntry:
        """The hospital, as it names itself."""
        return self.plan.roster[0]

    @property
    def stage(self) -> TableStage | MeasureStage:
        """What was measured."""
        return self.plan.tables[0] if self.plan.tables else self.plan.measures[0]


def offline_plan(
    release: Release,
    *,
    site: str,
    public_key: str,
    declared_patients: int,
    epsilon: float | None,
    day: date,
) -> Plan:
    """The plan by which one hospital measures a release alone; a plan of the same day is the same.

    Args:
        release: a verified release.
        site: name of the hospital's site.
        public_key: the key that it signs with.
        declared_patients: that it publishes.
        epsilon: what the table costs a patient; None: as in the release's own plan.
        day: on which it measures.

    Raises:
        PlanError: the hospital trained the release, its plan has no noised table of others, or it
            predicts a time to event.
    """
    if role_in(release.plan, site, public_key) == "training":
        raise PlanError(
            "measures-its-training",
            f"site {site} trained this release, so that its cohort is no external one",
            hint="ask the coordinator for the internal validation, or for a prospective one",
        )
    if follow_up_of(release.plan.settings) is not None:
        raise PlanError(
            "time-to-event-offline",
            f"run {release.plan.run} predicts a time to event, which no validation table measures",
            hint="ask the coordinator for a validation plan (`osteofed-coordinator plan --release`), "
            "whose measure survival does",
        )
    entry = RosterEntry(
        site=site,
        role="external",
        public_key=public_key,
        declared_patients=declared_patients,
        weight=0.0,
    )
    plan = validation_plan(
        release,
        [entry],
        run=f"offline-{release.sha256[:12]}",
        coordinator_key=public_key,
        written_utc=f"{day.isoformat()}T00:00:00+00:00",
        epsilon=epsilon,
        is_one_table=True,
    )
    if any(stage.release_class != "dp" for stage in plan.stages):
        raise PlanError(
            "exact-offline",
            "the release's plan asks for exact numbers, which do not leave by a file",
            hint="ask the coordinator for a validation plan (`osteofed-coordinator plan --release`)",
        )
    return plan


def encode_external(file: ExternalFile) -> bytes:
    """The file's bytes."""
    content = {
        "version": EXTERNAL_VERSION,
        "epsilon": file.epsilon,
        "plan": file.plan.model_dump(mode="json"),
        "reply": json.loads(pack(file.reply)),
    }
    return json.dumps(content, indent=1).encode()


def decode_external(data: bytes) -> ExternalFile:
    """The file in bytes of ``encode_external``; nothing is believed of it yet.

    Raises:
        ProtocolError: no such file, or of another version.
    """
    try:
        content = json.loads(data)
        version = content["version"]
        if version != EXTERNAL_VERSION:
            raise ProtocolError(
                "unknown-version",
                f"external file version must be {EXTERNAL_VERSION}, not {version!r}",
                hint="install the same release of OsteoFed at coordinator and sites",
            )
        reply = unpack(canonical_json(content["reply"]))
        plan, epsilon = Plan.model_validate(content["plan"]), content["epsilon"]
        if not isinstance(reply, SumReply) or not isinstance(epsilon, float | int | None):
            raise TypeError
        if len(plan.roster) != 1 or len(plan.tables) + len(plan.measures) != 1:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ProtocolError(
            "unreadable-external",
            "this is no file that `osteofed-site validate` or `personalise` wrote: "
            f"{type(error).__name__}",
            hint="ask the hospital for the file again",
        ) from None
    return ExternalFile(plan=plan, epsilon=None if epsilon is None else float(epsilon), reply=reply)


def require_plan_of(file: ExternalFile, release: Release) -> None:
    """Refuse a file that measured another release, by other code, or by another plan than it must be.

    Raises:
        WeightsError: it measured another release.
        PlanError: it was made by other code, or by a hospital that trained the release.
        ProtocolError: its plan is not the one that follows from the release.
    """
    measured = file.plan.release
    if measured is None or measured.release_sha256 != release.sha256:
        raise WeightsError(
            "other-release",
            f"the file measured another release than {release.sha256[:12]}",
            hint="name the run whose release the hospital was given",
        )
    if file.plan.code_sha256 != installed_code_hash():
        raise PlanError(
            "other-code",
            f"the file was written by code {file.plan.code_sha256[:12]}, "
            f"installed here is {installed_code_hash()[:12]}",
            hint="install the same release of OsteoFed at coordinator and hospital, and measure again",
        )
    try:
        expected = (local_plan if file.plan.is_local else offline_plan)(
            release,
            site=file.entry.site,
            public_key=file.entry.public_key,
            declared_patients=file.entry.declared_patients,
            epsilon=file.epsilon,
            day=datetime.fromisoformat(file.plan.written_utc).date(),
        )
    except ValueError:
        expected = None
    except OsteoFedError as error:
        if error.code.startswith("plan."):
            raise
        expected = None  # an epsilon that no noise gives
    if expected != file.plan:
        raise ProtocolError(
            "wrong-plan",
            "the file's plan is not the one that follows from the release",
            hint="do not use it; ask the hospital to write it again",
        )
