"""The coordinator's signature under a site's privacy statement, if the statement fits the run it kept.

It says that plan, releases and countersigned head are those of this coordinator. The site's ledger was
not seen: charges, costs and lifetime stay the site's word until an auditor recounts them. Imports the
home, the run store, the auditor's reading of files and the statement.
"""

from __future__ import annotations

from pathlib import Path

from server.federation.folder import Home
from server.run.folder import RunStore, open_run
from shared.audit.recount.recounted import SAME_FORMULA, place_of
from shared.audit.recount.run_files import MEASURED, HeldReplies, read_held
from shared.audit.recount.statement import plan_problems
from shared.contract.payload import payload_sha256
from shared.contract.plan import Plan
from shared.contract.release import read_release
from shared.contract.stages import purpose_of
from shared.errors import AuditError
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import event_of
from shared.privacy.statement import (
    Statement,
    countersign_statement,
    open_statement,
    read_statement,
    verify_statement,
    write_statement,
)
from shared.signing.countersign import verify_countersignature


def countersign_site_statement(home: Home, path: Path) -> Statement:
    """Add the coordinator's signature to a site's statement, in its file.

    Raises:
        AuditError: it is no statement, is not signed by the site's enrolled key, is of a run or site
            that is not known here, or does not fit what the run folder holds; every mismatch is named.
    """
    envelope = read_statement(path)
    stated = open_statement(envelope).predicate
    store = _run_of(home, stated.plan_sha256)
    if stated.site not in {entry.site for entry in store.plan.roster}:
        raise AuditError(
            "unexpected-site",
            f"the statement is of a site that is not on the roster of run {store.plan.run}",
            hint="countersign statements of this federation's sites only",
        )
    signers = {each.public_key for each in envelope.signatures}
    own_keys = home.keys_since(stated.site, store.plan.entry(stated.site).public_key)
    trusted = next((key for key in own_keys if key in signers), own_keys[0])
    statement = verify_statement(path, trusted)
    problems = statement_problems(store, statement)
    if problems:
        raise AuditError(
            "statement-unfit",
            f"the statement does not fit run {store.plan.run}: {'; '.join(problems)}",
            hint="ask the site for a statement made after its last answer; if it is the newest, "
            "settle the difference first",
        )
    write_statement(path, countersign_statement(envelope, home.key()))
    return statement


def statement_problems(store: RunStore, statement: Statement) -> list[str]:
    """What a statement says otherwise than the plan and the answers that the run folder holds."""
    stated = statement.predicate
    held = read_held(store.folder, stated.site)
    return [
        *plan_problems(store.plan, stated, site=stated.site),
        *_release_problems(store, statement, held),
        *_cost_problems(store.plan, statement, held),
        *_head_problems(store.plan, statement),
    ]


def _run_of(home: Home, plan_sha256: str) -> RunStore:
    for folder in sorted((home.folder / "runs").glob("*")):
        if (folder / "run.json").exists():
            store = open_run(folder)
            if store.plan.sha256 == plan_sha256:
                return store
    raise AuditError(
        "no-such-run",
        f"no run here has the plan {plan_sha256[:12]} that the statement is about",
        hint="name the --home of the coordinator that ran it",
    )


def _release_problems(store: RunStore, statement: Statement, held: HeldReplies) -> list[str]:
    named = {each.sha256 for each in statement.subject if each.name != "release"}
    classes = {
        each.payload_sha256: each.release_class
        for each in statement.predicate.releases
        if each.release_class != "repeat"
    }
    problems = []
    if named != set(classes):
        problems.append("its subjects are not the releases it lists")
    for place, payload, release_class in _held_releases(held):
        if payload not in classes:
            problems.append(f"it leaves out the reply of {place} that this run holds")
        elif classes[payload] != release_class:
            problems.append(f"the reply of {place} is of class {release_class}, not {classes[payload]}")
    measured = {each.sha256 for each in statement.subject if each.name == "release"}
    if measured:
        release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
        if measured != {release.sha256}:
            problems.append("the release that it names is not this run's")
    return problems


def _held_releases(held: HeldReplies) -> list[tuple[str, str, str]]:
    """(place, payload hash, class) of each answer about patients that the run folder holds."""
    return [
        (place_of(*place), payload_sha256(reply), reply.release_class)
        for place, reply in held.replies.items()
        if reply.status == MEASURED
    ]


def _cost_problems(plan: Plan, statement: Statement, held: HeldReplies) -> list[str]:
    """An ε below what the held updates alone cost; charges without an update here may make it more."""
    cost = statement.predicate.cost
    n_unprotected = sum(kind != "dp" for _, _, kind in _held_releases(held))
    if cost.n_unprotected < n_unprotected:
        return [f"{n_unprotected} releases without noise are held, it states {cost.n_unprotected}"]
    stages = {stage.name: stage for stage in plan.stages if purpose_of(stage) == "train"}
    events = [event_of(stages[name], number) for name, number in held.replies if name in stages]
    least = epsilon_of([event for event in events if event], plan.predicted.delta)
    is_too_small = cost.training_epsilon is None or cost.training_epsilon < least - SAME_FORMULA
    if events and None not in events and is_too_small:
        return [f"training epsilon {cost.training_epsilon}, the updates held here cost {least:.3f}"]
    return []


def _head_problems(plan: Plan, statement: Statement) -> list[str]:
    ledger = statement.predicate.ledger
    seen = ledger.countersigned
    if seen is None:
        return []
    is_own = seen.coordinator_key == plan.coordinator_key and verify_countersignature(
        plan.coordinator_key,
        seen.signature,
        site=statement.predicate.site,
        plan_sha256=seen.plan_sha256,
        ledger_head=seen.head_sha256,
    )
    if not is_own:
        return ["the countersigned ledger head is not countersigned by this coordinator"]
    if seen.index > ledger.head_index:
        return ["its ledger is behind the countersigned head"]
    return []
