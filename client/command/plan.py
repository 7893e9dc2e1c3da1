"""Commands about plans: look, approve, refuse. Import what they need when run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import By, Folder, Yes, require_yes
from shared.errors import PlanError
from shared.machine.terminal import JsonOption, command, say, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.site.folder import Site
    from shared.contract.plan import Plan

plan_app = typer.Typer()
PlanFile = Annotated[Path, typer.Argument(help="The coordinator's plan.json.")]
Facts = dict[str, object]
Changes = list[tuple[str, str, str]]
ALLOWED = "allows it"


@plan_app.command()
@command
def plan(path: PlanFile, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show a plan: what it asks, what it costs, what changed, what the policy says. Decides nothing."""
    from client.site.folder import open_site

    site = open_site(folder)
    read = site.approvals.import_plan(path)
    facts, changes = _judge(site, read)
    if as_json:
        show_json(facts | {"changes": changes})
    else:
        _show(read, facts, changes)


@plan_app.command()
@command
def approve(
    path: PlanFile, by: By, yes: Yes = False, folder: Folder = Path(), as_json: JsonOption = False
) -> None:
    """Read a plan, show what it asks for and what changed, and say yes in a person's name."""
    from client.site.folder import open_site

    site = open_site(folder)
    read = site.approvals.import_plan(path)
    facts, changes = _judge(site, read)
    if facts["policy"] != ALLOWED:
        raise PlanError(
            "forbidden-by-policy",
            f"this hospital's policy forbids the plan:\n{facts['policy']}",
            hint="ask for another plan, or change policy.yaml deliberately",
        )
    if not as_json:
        _show(read, facts, changes)
    require_yes(f"Does {by} approve plan {read.sha256[:12]} of run {read.run}?", is_given=yes)
    site.approvals.decide(read, "approved", by=by, now=site.clock())
    if as_json:
        show_json(facts | {"decision": f"approved by {by}", "changes": changes})
    say(f"plan {read.sha256[:12]} is approved by {by}")


@plan_app.command()
@command
def refuse(path: PlanFile, by: By, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Say no to a plan in a person's name."""
    from client.site.folder import open_site

    site = open_site(folder)
    read = site.approvals.import_plan(path)
    site.approvals.decide(read, "refused", by=by, now=site.clock())
    if as_json:
        show_json({"plan": read.sha256, "decision": f"refused by {by}"})
    say(f"plan {read.sha256[:12]} is refused by {by}")


def _show(read: Plan, facts: Facts, changes: Changes) -> None:
    show_facts(f"plan {read.run}", facts)
    if changes:
        show_table("changed since the last approved plan", ("setting", "before", "now"), changes)


def _judge(site: Site, plan: Plan) -> tuple[Facts, Changes]:
    """What a plan asks for and costs here, and what differs from the last approved one."""
    from client.site.approval import what_changed
    from client.site.policy import check_plan

    privacy, federation = plan.settings.privacy, plan.settings.federation
    role = plan.entry(site.name).role
    problems = [*site.entry_problems(plan), *check_plan(site.policy, plan, site=site.name)]
    before = site.approvals.last_approved(other_than=plan.sha256)
    facts: Facts = {
        "plan": plan.sha256,
        "code": _describe_code(plan),
        "role here": role,
        "asks for": f"{federation.rounds} rounds of {federation.local_steps} steps"
        if role == "training"
        else "external validation",
        "model": f"{plan.settings.encoder.name} + {plan.settings.fusion.name}",
        "mechanism": plan.predicted.mechanism,
        "noise multiplier": privacy.noise_multiplier,
        "clip norm": privacy.clip_norm,
        "unit, adjacency, delta": f"patient, add/remove, {privacy.delta:g}",
        **_describe_prices(site, plan),
        "releases": _describe_releases(plan, role),
        "last approved plan": "none" if before is None else f"{before.run}, {before.sha256[:12]}",
        "policy": "\n".join(problems) or ALLOWED,
    }
    return facts, what_changed(before, plan) if before else []


def _describe_code(plan: Plan) -> str:
    from shared.signing.code_hash import installed_code_hash

    if plan.code_sha256 == installed_code_hash():
        return f"{plan.code_sha256} (installed here)"
    return (
        f"{plan.code_sha256} (NOT the code installed here, {installed_code_hash()[:12]}: no round runs)"
    )


def _besides(plan: Plan) -> str:
    """What a description costs everybody besides, where the plan releases one."""
    from shared.privacy.statement_text import write_epsilon

    if plan.settings.validation.description_epsilon is None:
        return ""
    return f", besides a description {write_epsilon(plan.predicted.description_epsilon)}"


def _describe_prices(site: Site, plan: Plan) -> Facts:
    """ε of each purpose: of the run, spent so far, and left for life afterwards."""
    from client.cohort.versions import current_cohort
    from client.rehearsal.price import find_shortages, price_plan
    from shared.errors import IntakeError
    from shared.privacy.statement_text import write_epsilon

    predicted = plan.predicted
    try:
        prices = price_plan(site, plan, current_cohort(site, plan.settings.cohort.name))
    except IntakeError:
        return {
            "epsilon of the run": f"training {write_epsilon(predicted.training_epsilon)}, "
            f"validation {write_epsilon(predicted.validation_epsilon)}"
            f"{_besides(plan)}",
            "left for life": f"at most {site.policy.epsilon_lifetime:g}; no cohort was ingested yet",
        }
    facts: Facts = {
        f"epsilon, {price.purpose}": f"{write_epsilon(price.run_epsilon)} for the run; dearest patient "
        f"{price.spent_before:.2f} spent before, {price.spent_after:.2f} then, "
        f"{price.left_after:.2f} left for life"
        for price in prices
    }
    return facts | {"would stop it": "\n".join(find_shortages(site.policy, prices)) or "nothing"}


def _describe_releases(plan: Plan, role: str) -> str:
    """What would leave this site, how often and in which class."""
    kind = "dp" if plan.settings.privacy.mode == "patient_dp" else "off: no formal guarantee"
    table = f"({plan.settings.validation.release_class})"
    canaries = plan.settings.privacy.canaries
    parts = [f"{plan.settings.federation.rounds} updates of the weights ({kind})"]
    if role == "training":
        parts += [f"1 table of the internal split {table}"]
    else:
        parts = [f"1 table of everybody {table}"]
    parts.append(f"1 table of films acquired after a lock {table}")
    if plan.settings.validation.description_epsilon is not None:
        parts.append(f"1 description of the patients {table}")
    if canaries:
        parts.append(f"a register of {canaries} invented canaries for an auditor (public)")
    return ", ".join(parts)
