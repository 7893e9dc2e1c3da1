"""A hospital's yes or no to a plan: deny by default, by a named person, signed, kept.

``approvals/<plan hash>.json`` holds the latest decision, ``approvals/log.jsonl`` every one. Nothing
that arrives over the network can write here. Imports plan, keys and files only.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Literal

from shared.contract.plan import HASH, Plan, read_plan
from shared.contract.sweep import SignedSweep, read_sweep
from shared.errors import PlanError
from shared.machine.files import append_line, read_lines, write_atomic
from shared.signing.canonical import canonical_json
from shared.signing.keys import SigningKey, verify

Decision = Literal["approved", "refused"]
Standing = Literal["approved", "refused", "waiting for a second person"]


class Approvals:
    """The plans a site knows and what it decided about each.

    Args:
        folder: the site's folder.
        key: the site's signing key.
        coordinator_key: the key whose plans this site reads.
        people: how many different persons must say yes before a plan is approved.
    """

    def __init__(self, folder: Path, *, key: SigningKey, coordinator_key: str, people: int = 1) -> None:
        self._plans = folder / "plans"
        self._decisions = folder / "approvals"
        self._key = key
        self._coordinator_key = coordinator_key
        self._people = people

    def import_plan(self, path: Path) -> Plan:
        """Read a plan file, check its signature, and keep a copy; this approves nothing.

        Raises:
            PlanError: damaged, or not signed by this site's coordinator.
        """
        plan = read_plan(path, coordinator_key=self._coordinator_key)
        write_atomic(self._plans / f"{plan.sha256}.json", path.read_bytes())
        return plan

    def import_sweep(self, path: Path) -> SignedSweep:
        """Read a sweep, check every signature in it, and keep it and its plans; this approves nothing.

        Raises:
            PlanError: damaged, not signed by this site's coordinator, or not the plans it names.
        """
        signed = read_sweep(path, coordinator_key=self._coordinator_key)
        write_atomic(self._plans / f"sweep-{signed.sweep.sha256}.json", path.read_bytes())
        for plan, envelope in zip(signed.plans, json.loads(path.read_bytes())["plans"], strict=True):
            write_atomic(self._plans / f"{plan.sha256}.json", json.dumps(envelope, indent=1).encode())
        return signed

    def decide(self, plan: Plan, decision: Decision, *, by: str, now: datetime) -> None:
        """Record a named person's decision about a plan, signed with the site's key.

        Raises:
            PlanError: no person is named, or a plan is to be approved after its last day.
        """
        if len(by.split()) < 2:
            raise PlanError(
                "unnamed-approval",
                "a decision about a plan needs a person's first and last name",
                hint='add --by "First Last"',
            )
        if decision == "approved":
            plan.require_valid(now)
        content = {
            "plan_sha256": plan.sha256,
            "decision": decision,
            "by": by,
            "utc": now.isoformat(),
        }
        record = content | {"signature": self._key.sign(canonical_json(content))}
        line = json.dumps(record).encode() + b"\n"
        append_line(self._decisions / "log.jsonl", line)
        write_atomic(self._decisions / f"{plan.sha256}.json", line)

    def approved(self, plan_sha256: str) -> Plan:
        """The approved plan of a hash.

        Raises:
            PlanError: unknown here, not decided, refused, or record or plan were tampered with.
        """
        decision = self.decision(plan_sha256)
        if decision != "approved":
            raise PlanError(
                "not-approved",
                f"plan {plan_sha256[:12]} is {decision or 'not known'} at this site",
                hint="`osteofed-site approve PLAN.json --by NAME` after reading what it asks for",
            )
        plan = read_plan(self._plans / f"{plan_sha256}.json", coordinator_key=self._coordinator_key)
        if plan.sha256 != plan_sha256:
            raise PlanError(
                "other-than-approved",
                f"the file kept for plan {plan_sha256[:12]} holds plan {plan.sha256[:12]}",
                hint="somebody exchanged it; import the plan again and compare it before deciding",
            )
        return plan

    def decision(self, plan_sha256: str) -> Standing | None:
        """What was decided last about a plan; None when nothing was.

        Where two people must say yes, a first yes waits for another person's; a no ends both.

        Raises:
            PlanError: the record is damaged, or does not carry this site's signature.
        """
        path = self._decisions / f"{plan_sha256}.json"
        if not re.fullmatch(HASH, plan_sha256) or not path.exists():  # whoever asks may say anything
            return None
        if self._read_record(path.read_bytes(), plan_sha256)["decision"] != "approved":
            return "refused"
        if self._people > 1 and len(self._who_approved(plan_sha256)) < self._people:
            return "waiting for a second person"
        return "approved"

    def _who_approved(self, plan_sha256: str) -> set[str]:
        """Names of everybody who said yes to a plan since anybody last said no, by the log."""
        people: set[str] = set()
        logged = zip(self._logged(), read_lines(self._decisions / "log.jsonl"), strict=True)
        for line in [line for sha256, line in logged if sha256 == plan_sha256]:
            record = self._read_record(line, plan_sha256)
            if record["decision"] == "approved":
                people.add(" ".join(str(record["by"]).casefold().split()))
            else:
                people.clear()
        return people

    def _read_record(self, content: bytes, plan_sha256: str) -> dict[str, object]:
        """A decision about a plan, if this site signed it.

        Raises:
            PlanError: it is damaged, or does not carry this site's signature.
        """
        try:
            record = json.loads(content)
            signature = str(record.pop("signature", ""))
            named, _, signed = record["plan_sha256"], record["decision"], canonical_json(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                "damaged-approval",
                f"the approval record of plan {plan_sha256[:12]} cannot be read: "
                f"{type(error).__name__}",
                hint="decide again with `osteofed-site approve`; the log keeps every earlier decision",
            ) from None
        if not verify(self._key.public_hex, signed, signature) or named != plan_sha256:
            raise PlanError(
                "forged-approval",
                f"the approval record of plan {plan_sha256[:12]} is not signed by this site",
                hint="somebody edited the file; decide again with `osteofed-site approve`",
            )
        return dict(record)

    def last_approved(self, *, other_than: str) -> Plan | None:
        """The plan approved most recently, leaving out one hash.

        Raises:
            PlanError: the log or a record is damaged, or a record or plan was tampered with.
        """
        for sha256 in reversed(self._logged()):
            if sha256 != other_than and self.decision(sha256) == "approved":
                return self.approved(sha256)
        return None

    def _logged(self) -> list[str]:
        """Hashes of the plans that were decided about, oldest first."""
        try:
            return [
                str(json.loads(line)["plan_sha256"])
                for line in read_lines(self._decisions / "log.jsonl")
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(
                "damaged-approval-log",
                f"approvals/log.jsonl cannot be read: {type(error).__name__}",
                hint="keep the file as evidence and restore its newest intact copy",
            ) from None


def what_changed(before: Plan, after: Plan) -> list[tuple[str, str, str]]:
    """Settings and roster that differ between two plans: (dotted name, before, after)."""
    old, new = _flatten(before.model_dump(mode="json")), _flatten(after.model_dump(mode="json"))
    uninteresting = {"run", "written_utc"}
    return [
        (name, old.get(name, "-"), new.get(name, "-"))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in uninteresting
    ]


def _flatten(value: object, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {prefix: str(value)}
    return {
        name: text
        for key, item in items
        for name, text in _flatten(item, f"{prefix}.{key}" if prefix else key).items()
    }
