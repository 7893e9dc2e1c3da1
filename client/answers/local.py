"""Trains a release further here, for this hospital: charged and noised, and the weights stay.

The hospital writes itself a local plan, as it does to measure a release offline, and a named person
approves it. The gate charges for the training and keeps its total among the site's replies; then for
the comparison of the release with it and without, which alone may be handed over. Imports answer, the
offline measurement, gate and site.
"""

from __future__ import annotations

from pathlib import Path

from client.answers.answer import answer_approved, keep_approved
from client.answers.offline import (
    Planned,
    answered,
    approve_own,
    keep_encoders,
    own_request,
    write_external,
)
from client.gate.gate import open_gate
from client.gate.ledger import find_ledger
from client.gate.outbox import Outbox
from client.site.approved import Approved
from client.site.folder import Site
from shared.contract.payload import payload_sha256
from shared.contract.plan import Plan, read_plan
from shared.contract.protocol import SumReply, Vector
from shared.contract.release import Release
from shared.contract.stages import TrainingStage
from shared.errors import WeightsError
from shared.privacy.ledger_format import KEPT, LedgerRow
from shared.stages.external_file import ExternalFile
from shared.stages.local_plan import local_plan, local_run


def plan_local(site: Site, release: Release, *, epsilon: float | None) -> Planned:
    """The plan by which this site would train a release further, held against its policy.

    Raises:
        PlanError: the release was not trained by gradients, or has no price or noised table.
        PolicyError: the hospital's policy forbids it.
    """
    plan = local_plan(
        release,
        site=site.name,
        public_key=site.key.public_hex,
        declared_patients=site.settings.declared_patients,
        epsilon=epsilon,
        day=site.clock().date(),
    )
    Approved(site, plan).require_allowed()
    return Planned(release, plan, epsilon)


def train_local(site: Site, planned: Planned, *, by: str, out: Path) -> ExternalFile:
    """Train in a named person's name, keep the weights, and write the comparison for the coordinator.

    The same day's repetition gives the same weights and the same file, and costs nothing.

    Raises:
        PlanError: no person is named.
        IntakeError: there is no cohort, or nobody with a label in a split of it.
        PrivacyError: a budget is exhausted, or an answer is a refusal after noise was drawn.
        OsteoFedError: as ``answer_approved``.
    """
    from shared.stages.measure import both_weights

    plan, release = planned.plan, planned.release
    approved = approve_own(site, plan, by=by)
    keep_encoders(site, release)
    gate = open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)
    # The steps: charged, and their total kept.
    request = own_request(plan, plan.stages[0], release, release.weights)
    trained = answered(keep_approved(approved, gate, request))
    # The comparison on patients who had no part in it: charged, and handed over.
    local = _advanced(site, plan, release, trained)
    compared = own_request(plan, plan.measures[0], release, both_weights(local, release.weights))
    reply = answered(answer_approved(approved, gate, compared).message)
    return write_external(site, planned, reply, out=out)


def local_weights(site: Site, release: Release) -> Vector:
    """The weights [p] that this site made last of a release.

    Raises:
        WeightsError: it trained this release never, or what it kept is not what it was charged for.
        LedgerError: the ledger is damaged.
    """
    ledger = find_ledger(site)
    rows = ledger.show() if ledger else ()
    kept = [
        row for row in rows if (row.kind, row.run, row.status) == ("outcome", local_run(release), KEPT)
    ]
    if not kept:
        raise WeightsError(
            "no-local-weights",
            f"site {site.name} has not trained release {release.sha256[:12]} further",
            hint="`osteofed-site personalise RELEASE` does; without --local the release itself is read",
        )
    plan = read_plan(
        site.folder / "offline" / "plans" / f"{kept[-1].plan_sha256}.json",
        coordinator_key=site.key.public_hex,
    )
    return _advanced(site, plan, release, _kept_reply(site, rows, kept[-1]))


def _kept_reply(site: Site, rows: tuple[LedgerRow, ...], outcome: LedgerRow) -> SumReply:
    """The total that an outcome names."""
    charge = rows[outcome.charge_index or 0]
    reply = Outbox(site.folder / "outbox", site.folder / "replies").stored_reply(charge.sha256)
    if not isinstance(reply, SumReply) or payload_sha256(reply) != outcome.payload_sha256:
        raise WeightsError(
            "local-weights-lost",
            "the weights that this site trained are not kept any more, or were changed",
            hint="restore the site's replies folder, or train again: that is charged again",
        )
    return reply


def _advanced(site: Site, plan: Plan, release: Release, reply: SumReply) -> Vector:
    """The release's weights, moved by a kept total."""
    from shared.stages.kinds import sum_of
    from shared.stages.stage_sum import StageState

    stage = plan.trained
    if not isinstance(stage, TrainingStage):
        raise WeightsError("no-local-weights", f"plan {plan.sha256[:12]} trains nothing")
    file = site.encoder_file(plan.encoder_sha256) if plan.encoder_sha256 else None
    asked = sum_of(plan, stage, encoder_file=file)
    start = StageState(round=0, vector=release.weights)
    return asked.advance(start, [reply.total], sites=plan.roster).vector
