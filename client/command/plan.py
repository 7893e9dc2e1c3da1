"""Commands about plans: look, approve, refuse. Import what they need when run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import By, Code, Folder, require_code
from shared.errors import PlanError
from shared.machine.terminal import JsonOption, command, say, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.site.folder import Site
    from shared.contract.plan import Plan
    from shared.contract.stages import Role, Stage

plan_app = typer.Typer()
PlanFile = Annotated[Path, typer.Argument(help="The coordinator's plan.json, or sweep.json.")]
Facts = dict[str, object]
Changes = list[tuple[str, str, str]]
ALLOWED, NOTHING = "allows it", "nothing"


@plan_app.command()
@command
def plan(path: PlanFile, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show a plan: what it asks, what it costs, what changed, what the policy says. Decides nothing.

    A sweep is shown, approved and refused as a whole.
    """
    from client.command.sweep import show_sweep
    from client.site.folder import open_site
    from shared.contract.sweep import is_sweep

    site = open_site(folder)
    if is_sweep(path):
        show_sweep(site, path, as_json=as_json)
        return
    read = site.approvals.import_plan(path)
    facts, changes = _judge(site, read)
    if as_json:
        show_json(facts | _tables(read) | {"changes": changes})
    else:
        _show(read, facts, changes)


@plan_app.command()
@command
def approve(
    path: PlanFile,
    by: By,
    code: Code = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show what a plan asks for and what changed, ask for its code, and say yes in a person's name."""
    from client.command.sweep import approve_sweep
    from client.site.folder import open_site
    from shared.contract.sweep import is_sweep

    site = open_site(folder)
    if is_sweep(path):
        approve_sweep(site, path, by=by, code=code, as_json=as_json)
        return
    read = site.approvals.import_plan(path)
    facts, changes = _judge(site, read)
    require_allowed(facts, whole="plan")
    if not as_json:
        _show(read, facts, changes)
    require_code(f"Does {by} approve run {read.run}?", code=read.short_code, given=code)
    site.approvals.decide(read, "approved", by=by, now=site.clock())
    if as_json:
        decided = {"decision": f"approved by {by}", "changes": changes}
        show_json(facts | _tables(read) | decided)
    say(f"plan {read.sha256[:12]} is approved by {by}{describe_standing(site, read)}")


@plan_app.command()
@command
def refuse(path: PlanFile, by: By, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Say no to a plan in a person's name."""
    from client.command.sweep import refuse_sweep
    from client.site.folder import open_site
    from shared.contract.sweep import is_sweep

    site = open_site(folder)
    if is_sweep(path):
        refuse_sweep(site, path, by=by, as_json=as_json)
        return
    read = site.approvals.import_plan(path)
    site.approvals.decide(read, "refused", by=by, now=site.clock())
    if as_json:
        show_json({"plan": read.sha256, "decision": f"refused by {by}"})
    say(f"plan {read.sha256[:12]} is refused by {by}")


def describe_standing(site: Site, plan: Plan) -> str:
    """What a yes still lacks, in words; nothing where the plan may run now."""
    standing = site.approvals.decision(plan.sha256)
    return "" if standing == "approved" else f", and is {standing}: nothing runs before"


def require_allowed(facts: Facts, *, whole: str) -> None:
    """Refuse what the policy forbids, or what would be refused here later.

    Args:
        facts: with ``policy`` and ``would stop it``.
        whole: what they are of, in a word.

    Raises:
        PlanError: with every reason.
    """
    if facts["policy"] != ALLOWED:
        raise PlanError(
            "forbidden-by-policy",
            f"this hospital's policy forbids the {whole}:\n{facts['policy']}",
            hint=f"ask for another {whole}, or change policy.yaml deliberately",
        )
    if facts["would stop it"] != NOTHING:
        raise PlanError(
            "would-be-refused",
            f"what this {whole} asks would be refused here, after other hospitals have paid for it:\n"
            f"{facts['would stop it']}",
            hint=f"take in more patients or labels, install the {whole}'s release, ask for another "
            f"{whole}, or change policy.yaml deliberately; `osteofed-site rehearse` tries a plan and "
            "charges nothing",
        )


def _tables(read: Plan) -> Facts:
    """The stages, and what each group of patients pays, as rows by column."""
    from shared.privacy.stage_text import GROUP_COLUMNS, STAGE_COLUMNS, group_rows, stage_rows

    return {
        "stages": [dict(zip(STAGE_COLUMNS, row, strict=True)) for row in stage_rows(read)],
        "groups": [dict(zip(GROUP_COLUMNS, row, strict=True)) for row in group_rows(read)],
    }


def _show(read: Plan, facts: Facts, changes: Changes) -> None:
    from shared.privacy.stage_text import GROUP_COLUMNS, STAGE_COLUMNS, group_rows, stage_rows

    show_facts(f"plan {read.run}", facts)
    show_table("stages", STAGE_COLUMNS, stage_rows(read))
    show_table("what a patient pays", GROUP_COLUMNS, group_rows(read))
    if changes:
        show_table("changed since the last approved plan", ("setting", "before", "now"), changes)


def _judge(site: Site, plan: Plan) -> tuple[Facts, Changes]:
    """What a plan asks for and costs here, and what differs from the last approved one."""
    from client.site.approval import what_changed
    from client.site.policy import check_plan
    from shared.privacy.stage_text import qualifier_facts

    role = plan.entry(site.name).role
    policy, now = site.policy, site.clock()
    problems = [*site.entry_problems(plan), *check_plan(policy, plan, site=site.name, now=now)]
    before = site.approvals.last_approved(other_than=plan.sha256)
    facts: Facts = {
        "plan": plan.sha256,
        "short code": plan.short_code,
        "valid until": plan.valid_until,
        **describe_latest_end(site),
        "code": describe_code(plan),
        "role here": role,
        "asks for": _describe_asked(plan, role),
        **_describe_measured(plan),
        "model": f"{plan.settings.encoder.name} + {plan.settings.fusion.name}",
        **qualifier_facts(plan),
        **_describe_training(plan),
        **describe_prices(site, (plan,)),
        "answers leave": _describe_quantum(plan),
        "releases": _describe_releases(plan, role),
        "last approved plan": "none" if before is None else f"{before.run}, {before.sha256[:12]}",
        "policy": "\n".join(problems) or ALLOWED,
    }
    return facts, what_changed(before, plan) if before else []


def describe_latest_end(site: Site) -> Facts:
    """The latest last day that the policy allows a plan, where it asks for one."""
    latest = site.policy.latest_end(site.clock().astimezone(UTC).date())
    return {} if latest is None else {"valid until at most": latest}


def _describe_quantum(plan: Plan) -> str:
    """When an answer leaves, and what can be read from that."""
    seconds = plan.settings.patience.reply_quantum_s
    if seconds:
        return f"in multiples of {seconds:g} s after a request"
    return "at once: how long the work here takes can be read from it"


def _describe_asked(plan: Plan, role: Role) -> str:
    """What this site would do, in words."""
    from shared.privacy.stage_text import purposes_of

    stage = plan.trained
    if stage is not None and role in stage.roles:
        if stage.kind == "gradient":
            return f"{stage.rounds} rounds of {stage.local_steps} steps"
        return f"{stage.rounds} sums for {stage.learner.kind}"
    return purposes_of(each for each in plan.stages if role in each.roles and _is_asked_now(each))


def _describe_measured(plan: Plan) -> Facts:
    """Which release a plan that trains nothing measures."""
    measured = plan.release
    return {"measures": f"release {measured.release_sha256} of run {measured.run}"} if measured else {}


def _is_asked_now(stage: Stage) -> bool:
    """Whether a stage asks patients of the cohort, and not those who come after a lock."""
    return stage.patients != "accrued"


def _describe_training(plan: Plan) -> Facts:
    from shared.learners.table import describe_learner

    stage = plan.trained
    if stage is None:
        return {}
    if stage.kind == "learner":
        return {"learner": describe_learner(stage.learner)}
    return {"noise multiplier": stage.noise_multiplier, "clip norm": stage.clip_norm}


def describe_code(plan: Plan) -> str:
    """The hash of the code that a plan was written for, and whether it is installed here."""
    return f"{plan.code_sha256} ({'NOT the code ' if _other_code(plan) else ''}installed here)"


def _describe_cohort(site: Site, plan: Plan) -> str:
    """Which version of the cohort would answer now."""
    from client.cohort.folder import latest_version

    name = plan.settings.cohort.name
    version = latest_version(site.cohorts, name)
    return f"{name}, version {version}" if version else f"none of {name}"


def _other_code(plan: Plan) -> str:
    """Why no round of a plan would run here: it was written for other code; empty: it was not."""
    from shared.signing.code_hash import installed_code_hash

    installed = installed_code_hash()
    if plan.code_sha256 == installed:
        return ""
    return (
        f"the plan was written for code {plan.code_sha256[:12]}, installed here is {installed[:12]}: "
        "no round runs until coordinator and hospitals install the same release"
    )


def describe_prices(site: Site, plans: Sequence[Plan]) -> Facts:
    """ε of each purpose: of all these runs, spent so far, and left for life; and what would stop them.

    Args:
        site: the hospital.
        plans: one, or those of a sweep.
    """
    from client.cohort.versions import current_cohort
    from client.rehearsal.price import find_governed, find_shortages, price_plans
    from shared.errors import IntakeError
    from shared.privacy.statement_text import write_epsilon

    plan, whole = plans[0], "the run" if len(plans) == 1 else "all arms"
    cohort: Facts = {"cohort here": _describe_cohort(site, plan)}
    try:
        held = current_cohort(site, plan.settings.cohort.name)
        prices, (exact, refused) = price_plans(site, plans, held), find_governed(site, plans, held)
    except IntakeError as error:
        needs_one = any(
            plan.entry(site.name).role in stage.roles and _is_asked_now(stage) for stage in plan.stages
        )
        return cohort | {
            f"epsilon of {whole}": "in the table below",
            "left for life": f"at most {site.policy.epsilon_lifetime:g}",
            "would stop it": _stops(site, plan, [f"{error.fact}; {error.hint}"] if needs_one else []),
        }
    facts: Facts = {
        f"epsilon, {price.purpose}": write_epsilon(price.run_epsilon)
        + (
            ""
            if price.run_epsilon is None
            else f" for {whole}; dearest patient {price.spent_before:.2f} spent before, "
            f"{price.spent_after:.2f} then, {price.left_after:.2f} left for life"
        )
        for price in prices
    }
    asked = ", ".join(f"{price.purpose} {price.n_patients}" for price in prices)
    cohort |= {"patients asked": asked}
    if exact:
        cohort["exact releases of these patients"] = "\n".join(exact)
    shortages = [*find_shortages(site.policy, prices), *refused]
    return cohort | facts | {"would stop it": _stops(site, plan, shortages)}


def _stops(site: Site, plan: Plan, shortages: Sequence[str]) -> str:
    """Everything that would stop a run here, in lines."""
    try:
        plan.require_valid(site.clock())
        over = ""
    except PlanError as error:
        over = error.fact
    return "\n".join(each for each in (over, _other_code(plan), *shortages) if each) or NOTHING


def _describe_releases(plan: Plan, role: Role) -> str:
    """What would leave this site, how often and in which class."""
    parts = [_describe_release(stage) for stage in plan.stages if role in stage.roles]
    stage = plan.training
    if stage is not None and stage.canaries:
        parts.append(f"a register of {stage.canaries} invented canaries for an auditor (public)")
    return ", ".join(parts)


def _describe_release(stage: Stage) -> str:
    kind = "off: no formal guarantee" if stage.release_class == "off" else stage.release_class
    if stage.kind == "gradient":
        what = "updates of the weights" if stage.fold == "site" else "sums of gradients"
        return f"{stage.rounds} {what} ({kind})"
    if stage.kind == "learner":
        return f"{stage.rounds} sums of a learner ({kind})"
    if stage.kind == "description":
        return f"1 description of the patients ({kind})"
    whom = {
        "internal": "the internal split",
        "everybody": "everybody",
        "accrued": "who came after a lock",
    }
    return f"1 table of {whom[stage.patients]} ({kind})"
