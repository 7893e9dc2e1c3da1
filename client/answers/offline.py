"""Measures a release here with no coordinator connected: same policy, gate, ledger and noise.

The hospital writes itself a validation plan, a named person approves it, and the answer that would have
gone to a coordinator goes into a file. Plan and approval are kept in ``offline/``, apart from those of
the federation, where nothing that arrives by message is looked up. Imports answer, gate and site.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from client.answers.answer import answer_approved
from client.gate.export import export_file
from client.gate.gate import open_gate
from client.gate.ledger import find_ledger
from client.site.approval import Approvals
from client.site.approved import Approved
from client.site.folder import Site
from shared.contract.plan import Plan, write_plan
from shared.contract.protocol import Refusal, SumReply, SumRequest, Vector, Wire
from shared.contract.release import Release
from shared.contract.stages import ReleaseStage, Stage
from shared.errors import IntakeError, PlanError, PrivacyError
from shared.stages.external_file import ExternalFile, encode_external, offline_plan


@dataclass(frozen=True)
class Planned:
    """A plan of this site's own that the policy allows and nobody has approved yet."""

    release: Release
    plan: Plan
    epsilon: float | None


def plan_offline(site: Site, release: Release, *, epsilon: float | None) -> Planned:
    """The plan by which this site would measure a release alone, held against its policy.

    Raises:
        PlanError: this site trained the release, or the release's plan has no noised table of others.
        PolicyError: the hospital's policy forbids it.
    """
    ledger = find_ledger(site)
    rows = ledger.show() if ledger else ()
    if any(row.plan_sha256 == release.plan.sha256 and row.purpose == "train" for row in rows):
        raise PlanError(
            "measures-its-training",
            f"site {site.name} trained this release, so that its cohort is no external one",
            hint="ask the coordinator for the internal validation, or for a prospective one",
        )
    plan = offline_plan(
        release,
        site=site.name,
        public_key=site.key.public_hex,
        declared_patients=site.settings.declared_patients,
        epsilon=epsilon,
        day=site.clock().date(),
    )
    Approved(site, plan).require_allowed()
    return Planned(release, plan, epsilon)


def measure_offline(site: Site, planned: Planned, *, by: str, out: Path) -> ExternalFile:
    """Measure in a named person's name, and write the file for the coordinator.

    The same day's repetition gives the same table and costs nothing.

    Raises:
        PlanError: no person is named.
        IntakeError: there is no cohort, or nobody with a label in it.
        PrivacyError: a budget is exhausted, or the answer is a refusal after noise was drawn.
        OsteoFedError: as ``answer_approved``.
    """
    approved = approve_own(site, planned.plan, by=by)
    keep_encoders(site, planned.release)
    gate = open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)
    request = own_request(
        planned.plan, planned.plan.tables[0], planned.release, planned.release.weights
    )
    reply = answered(answer_approved(approved, gate, request).message)
    return write_external(site, planned, reply, out=out)


def answered(reply: Wire) -> SumReply:
    """The total of an answer.

    Raises:
        PrivacyError: it is a refusal after noise was drawn.
        IntakeError: there was nobody to measure.
    """
    if isinstance(reply, Refusal):
        raise PrivacyError(
            "answered-by-refusal",
            f"the measurement ended in {reply.code}; it is charged, and not tried again today",
            hint=f"log/refusals.jsonl has its text under {reply.correlation_id}; another day may do",
        )
    if not isinstance(reply, SumReply) or reply.status != "measured":
        raise IntakeError(
            "nobody-to-measure",
            "the cohort has no patient with a label",
            hint="ingest a table that has the label, then measure again",
        )
    return reply


def write_external(site: Site, planned: Planned, reply: SumReply, *, out: Path) -> ExternalFile:
    """Write what was measured by a plan of this site's own, logged as leaving."""
    file = ExternalFile(planned.plan, planned.epsilon, reply)
    export_file(
        site,
        out,
        encode_external(file),
        channel="export.external",
        release_class="status",
        message="ExternalFile",
        plan_sha256=planned.plan.sha256,
    )
    return file


def approve_own(site: Site, plan: Plan, *, by: str) -> Approved:
    """The plan, signed by this site and approved by a person here."""
    own = site.folder / "offline"
    approvals = Approvals(
        own,
        key=site.key,
        coordinator_key=site.key.public_hex,
        people=site.policy.approvals_needed,
    )
    if len(by.split()) >= 2:
        write_plan(own / "plans" / f"{plan.sha256}.json", plan, site.key)
    approvals.decide(plan, "approved", by=by, now=site.clock())
    return Approved(site, approvals.approved(plan.sha256))


def keep_encoders(site: Site, release: Release) -> None:
    """Cache the release's encoders, whose hashes were checked when the release was read."""
    for sha256, file in release.encoders.items():
        kept = site.encoder_file(sha256)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(".part")
            shutil.copyfile(file, part)
            part.replace(kept)


def own_request(plan: Plan, stage: Stage, release: Release, vector: Vector) -> SumRequest:
    """What a site asks itself under a plan of its own."""
    return SumRequest(
        plan_sha256=plan.sha256,
        stage=stage.name,
        round=1,
        vector=vector,
        release_sha256=release.sha256 if isinstance(stage, ReleaseStage) else "",
        lock_sha256="",
        ledger_head="",
        countersignature="",
    )
