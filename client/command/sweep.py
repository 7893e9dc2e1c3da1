"""A sweep at a hospital: one look, one price, one decision about all its plans.

``plan``, ``approve`` and ``refuse`` come here with a sweep's file. Imports what it needs when run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from client.command.options import require_code
from client.command.plan import (
    ALLOWED,
    Facts,
    describe_code,
    describe_latest_end,
    describe_prices,
    describe_standing,
    require_allowed,
)
from shared.machine.terminal import say, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.site.approval import Decision
    from client.site.folder import Site
    from shared.contract.sweep import SignedSweep


def show_sweep(site: Site, path: Path, *, as_json: bool) -> None:
    """Show what a sweep asks, its arms, and what all of them cost together. Decides nothing."""
    signed = site.approvals.import_sweep(path)
    facts = _judge(site, signed)
    if as_json:
        show_json(facts | _tables(signed))
    else:
        _show(signed, facts)


def approve_sweep(site: Site, path: Path, *, by: str, code: str | None, as_json: bool) -> None:
    """Say yes to every plan of a sweep in a person's name, or to none.

    Raises:
        PlanError: the policy forbids an arm or the whole, or it would be refused later.
        PolicyError: nobody confirmed it.
    """
    signed = site.approvals.import_sweep(path)
    facts = _judge(site, signed)
    require_allowed(facts, whole="sweep")
    if not as_json:
        _show(signed, facts)
    name, n_arms = signed.sweep.name, len(signed.plans)
    question = f"Does {by} approve all {n_arms} plans of sweep {name}?"
    require_code(question, code=signed.sweep.short_code, given=code)
    _decide(site, signed, "approved", by=by)
    if as_json:
        show_json(facts | _tables(signed) | {"decision": f"approved by {by}"})
    standing = describe_standing(site, signed.plans[0])
    say(f"sweep {signed.sweep.sha256[:12]}, {n_arms} plans, is approved by {by}{standing}")


def refuse_sweep(site: Site, path: Path, *, by: str, as_json: bool) -> None:
    """Say no to every plan of a sweep in a person's name."""
    signed = site.approvals.import_sweep(path)
    _decide(site, signed, "refused", by=by)
    if as_json:
        show_json({"sweep": signed.sweep.sha256, "decision": f"refused by {by}"})
    say(f"sweep {signed.sweep.sha256[:12]}, {len(signed.plans)} plans, is refused by {by}")


def _decide(site: Site, signed: SignedSweep, decision: Decision, *, by: str) -> None:
    for plan in signed.plans:
        site.approvals.decide(plan, decision, by=by, now=site.clock())


def _judge(site: Site, signed: SignedSweep) -> Facts:
    """What a sweep asks for and costs here, and what the policy says of it."""
    from client.site.sweep import check_sweep

    first = signed.plans[0]
    return {
        "sweep": signed.sweep.sha256,
        "short code": signed.sweep.short_code,
        "valid until": first.valid_until,
        **describe_latest_end(site),
        "arms": len(signed.plans),
        "code": describe_code(first),
        "role here": first.entry(site.name).role,
        "mechanism": signed.sweep.predicted.mechanism,
        "accountant": signed.sweep.predicted.accountant,
        **describe_prices(site, signed.plans),
        "policy": "\n".join(check_sweep(site, signed)) or ALLOWED,
    }


def _tables(signed: SignedSweep) -> Facts:
    from shared.privacy.sweep_text import ARM_COLUMNS, PAID_COLUMNS, arm_rows, paid_rows

    return {
        "plans": [dict(zip(ARM_COLUMNS, row, strict=True)) for row in arm_rows(signed)],
        "groups": [dict(zip(PAID_COLUMNS, row, strict=True)) for row in paid_rows(signed)],
    }


def _show(signed: SignedSweep, facts: Facts) -> None:
    from shared.privacy.sweep_text import ARM_COLUMNS, PAID, PAID_COLUMNS, arm_rows, paid_rows

    show_facts(f"sweep {signed.sweep.name}", facts)
    show_table("arms, in the order in which they are played", ARM_COLUMNS, arm_rows(signed))
    show_table(PAID, PAID_COLUMNS, paid_rows(signed))
