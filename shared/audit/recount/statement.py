"""The claim of a site's privacy statement: does it say what plan, ledger and release say?

Imports recounted, evidence, report and the statement.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.audit.finding import Finding
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.recounted import (
    SAME_FORMULA,
    RecountedLedger,
    bounds,
    is_same,
    is_within,
    judge,
    not_examined,
    releases_by_payload,
)
from shared.audit.report import open_report
from shared.contract.plan import Plan
from shared.contract.release import read_release
from shared.errors import OsteoFedError
from shared.privacy.accountant import epsilon_of
from shared.privacy.filter import filter_epsilon
from shared.privacy.ledger_format import keys_of
from shared.privacy.statement import (
    PrivacyPredicate,
    Statement,
    mechanism_of,
    read_statement,
    verify_statement,
)
from shared.signing.canonical import hash_file


def recount_statement(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """The finding about a site's statement."""
    claim = "The site's privacy statement says what the files say."
    blind_to = (
        "What member lists decide: for the dearest patient only bounds can be recounted. The policy "
        "itself: its cap is known only as the site exported it."
    )
    if evidence.statement is None:
        return not_examined(ledger.site, claim, "no statement was handed over")
    try:
        signers = {each.public_key for each in read_statement(evidence.statement).signatures}
        # A site may have replaced its key since: any key of its ledger may have signed.
        signer = min(signers & keys_of(ledger.rows), default=evidence.site_key)
        statement = verify_statement(evidence.statement, signer)
    except OsteoFedError as error:
        return judge(ledger.site, claim, [error.fact], holds="", blind_to=blind_to)
    stated = statement.predicate
    index = ledger.hashes.get(stated.ledger.head_sha256)
    if index is None:
        problem = "its ledger head is not in the exported ledger: rewritten, or exported too early"
        return judge(ledger.site, claim, [problem], holds="", blind_to=blind_to)
    then = ledger.until(index)
    in_force = then.rows[-1].successor_key
    problems = [
        *(
            []
            if signer == in_force
            else ["it is signed by a key that was not in force at its ledger head"]
        ),
        *_identity_problems(then, stated),
        *_figure_problems(then, stated),
        *_cap_problems(evidence, stated),
        *_countersigned_problems(then, evidence, stated),
        *_artefact_problems(then, evidence, statement),
        *_audit_problems(evidence, stated),
    ]
    return judge(
        ledger.site,
        claim,
        problems,
        holds="signature, plan, mechanism, epsilons, cohorts and released artefacts are as recounted",
        blind_to=blind_to,
        figures={
            "stated_training_epsilon": stated.cost.training_epsilon,
            "stated_run_epsilon": stated.cost.run_epsilon,
            "stated_lifetime_epsilon": stated.lifetime.epsilon,
            "stated_lifetime_cap": stated.lifetime.epsilon_cap,
            "ledger_row": index,
            "coordinator_signed": "yes" if evidence.coordinator_key in signers else "no",
            "code_is_the_plans": "yes"
            if stated.software.code_sha256 == ledger.plan.code_sha256
            else "no",
        },
    )


def _identity_problems(then: RecountedLedger, stated: PrivacyPredicate) -> list[str]:
    if then.site not in {entry.site for entry in then.plan.roster}:
        return ["the site is not on the plan's roster"]
    pairs: dict[str, tuple[object, object]] = {
        "ledger index": (stated.ledger.head_index, then.rows[-1].index),
        "cohorts": (
            {cohort.cohort_id for cohort in stated.cohorts},
            {row.members_sha256 for row in then.charges},
        ),
        "governed by": (set(stated.governed_by), {r.approved_by for r in then.charges} - {""}),
    }
    return [*plan_problems(then.plan, stated, site=then.site), *_differences(pairs)]


def plan_problems(plan: Plan, stated: PrivacyPredicate, *, site: str) -> list[str]:
    """Where a statement of a site on the roster says something else of the plan than the plan."""
    entry, predicted = plan.entry(site), plan.predicted
    pairs: dict[str, tuple[object, object]] = {
        "site": (stated.site, site),
        "run": (stated.run, plan.run),
        "plan": (stated.plan_sha256, plan.sha256),
        "role": (stated.role, entry.role),
        "declared patients": (stated.declared_patients, entry.declared_patients),
        "the plan's code": (stated.software.plan_code_sha256, plan.code_sha256),
    }
    delta = predicted.delta
    problems = []
    if (stated.cost.delta, stated.lifetime.delta) != (delta, delta):
        problems.append(
            f"delta {stated.cost.delta:g} and {stated.lifetime.delta:g}, the plan has {delta:g}"
        )
    planned = predicted.training_epsilon if entry.role == "training" else 0.0
    if not is_same(stated.cost.planned_epsilon, planned):
        problems.append(f"planned epsilon {stated.cost.planned_epsilon}, the plan has {planned}")
    made, wanted = stated.mechanism, mechanism_of(plan, entry.role)
    if made is None or wanted is None:
        if made is not wanted:
            problems.append("mechanism must be stated by a training site and only by it")
    else:
        pairs |= {
            "mechanism": (made.name, wanted.name),
            "clip norm": (made.clip_norm, wanted.clip_norm),
            "noise multiplier": (made.noise_multipliers, wanted.noise_multipliers),
            "sample rate": (made.sample_rate, wanted.sample_rate),
            "rounds and steps": ((made.rounds, made.steps), (wanted.rounds, wanted.steps)),
            "update norm": (made.update_norm_max, wanted.update_norm_max),
        }
    return [*problems, *_differences(pairs)]


def _differences(pairs: Mapping[str, tuple[object, object]]) -> list[str]:
    return [f"{name} is not as in plan and ledger" for name, (a, b) in pairs.items() if a != b]


def _figure_problems(then: RecountedLedger, stated: PrivacyPredicate) -> list[str]:
    cost, life, delta = stated.cost, stated.lifetime, then.plan.predicted.delta
    training = [row for row in then.charges if row.purpose == "train"]
    events = [row.event for row in training if row.event is not None]
    trained = epsilon_of(events, delta) if len(events) == len(training) else None
    n_unprotected = sum(row.event is None for row in then.charges)
    n_ever = sum(row.kind == "charge" and row.event is None for row in then.rows)
    problems = []
    if not is_same(cost.training_epsilon, trained):
        problems.append(f"training epsilon {cost.training_epsilon}, recounted {trained}")
    if (cost.n_unprotected, life.n_unprotected) != (n_unprotected, n_ever):
        problems.append("charges without guarantee are not the ledger's")
    run = bounds(then.charges, lambda priced: epsilon_of(priced, delta))
    if n_unprotected:
        if cost.run_epsilon is not None:
            problems.append("an epsilon is stated for a run with charges that have no noise")
    elif cost.run_epsilon is None or not is_within(cost.run_epsilon, run):
        problems.append(f"run epsilon {cost.run_epsilon}, recounted {run[0]:.3f} to {run[1]:.3f}")
    ever = bounds(then.rows, lambda priced: filter_epsilon(priced, delta))
    if not is_within(life.epsilon, ever):
        problems.append(f"lifetime epsilon {life.epsilon}, recounted {ever[0]:.3f} to {ever[1]:.3f}")
    if cost.run_epsilon is not None and life.epsilon < cost.run_epsilon - SAME_FORMULA:
        problems.append("lifetime epsilon is below the run's")
    return problems


def _cap_problems(evidence: SiteEvidence, stated: PrivacyPredicate) -> list[str]:
    """A lifetime cap, or its δ, that is not the one under which the site exported its ledger."""
    life, account = stated.lifetime, evidence.export.account
    pairs = {
        "lifetime cap": (life.epsilon_cap, account.epsilon_cap),
        "delta of the lifetime cap": (life.delta_cap, account.delta),
    }
    return [
        f"{name} {said:g}, the ledger was exported under {exported:g}: one is wrong or is older than a "
        "change of the hospital's policy"
        for name, (said, exported) in pairs.items()
        if said != exported
    ]


def _countersigned_problems(
    then: RecountedLedger, evidence: SiteEvidence, stated: PrivacyPredicate
) -> list[str]:
    seen = stated.ledger.countersigned
    if seen is None:
        return []
    listed = {(each.head_sha256, each.signature) for each in evidence.export.countersignatures}
    if (seen.head_sha256, seen.signature) not in listed:
        return ["the countersignature is not among the ledger's"]
    if (
        seen.coordinator_key != evidence.coordinator_key
        or then.hashes.get(seen.head_sha256) != seen.index
    ):
        return ["the countersignature is of another key or row"]
    return []


def _artefact_problems(
    then: RecountedLedger, evidence: SiteEvidence, statement: Statement
) -> list[str]:
    paid = releases_by_payload(then)
    named = {each.sha256 for each in statement.subject if each.name != "release"}
    problems = []
    if named != set(paid):
        problems.append(f"{len(named ^ set(paid))} artefacts are named without a charge, or left out")
    measured = {each.sha256 for each in statement.subject if each.name == "release"}
    if measured and evidence.release is not None and measured != {_release_sha256(evidence)}:
        problems.append("the release that it names is not the one handed over")
    stated = statement.predicate.releases
    if {each.payload_sha256 for each in stated} != set(paid):
        problems.append("the releases it lists are not those of the ledger")
    delta = statement.predicate.lifetime.delta_cap
    for each in stated:
        release = paid.get(each.payload_sha256)
        if release is None or each.release_class == "repeat":
            continue
        charge = release.charge
        price = None if charge.event is None else epsilon_of([charge.event], delta)
        if each.release_class != charge.charge_class or not is_same(each.epsilon, price):
            problems.append(f"release {each.payload_sha256[:12]} is not stated at its class and cost")
    return problems


def _audit_problems(evidence: SiteEvidence, stated: PrivacyPredicate) -> list[str]:
    """Verdicts that no report at hand, signed by the named auditor, gives of this plan and site."""
    reports = {hash_file(path): path for path in evidence.reports}
    problems = []
    for each in stated.audits:
        try:
            report = open_report(reports[each.report_sha256], each.auditor_key)
        except KeyError:
            problems.append(
                f"the audit report {each.report_sha256[:12]} it repeats was not handed over"
            )
            continue
        except OsteoFedError as error:
            problems.append(f"of the audit report {each.report_sha256[:12]}: {error.fact}")
            continue
        signed = report.verdicts_of(stated.plan_sha256, stated.site)
        if (each.method, each.verdict) not in signed.items():
            problems.append(f"the auditor's verdict by {each.method} is not the one it repeats")
    return problems


def _release_sha256(evidence: SiteEvidence) -> str:
    """Hash of the release handed over; empty when it cannot be read, which is a finding of its own."""
    if evidence.release is None:
        return ""
    try:
        return read_release(evidence.release, coordinator_key=evidence.coordinator_key).sha256
    except OsteoFedError:
        return ""
