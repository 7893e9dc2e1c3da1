"""The claim about a site's charges: does each belong to a stage of the plan, and cost what it says?

No stage is special: what may be charged in a round is what the plan's stage gives (``event_of``).
Imports recounted, stages and their cost.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from shared.audit.finding import Finding
from shared.audit.recount.recounted import RecountedLedger, charge_of, judge, place_of
from shared.contract.stages import PROSPECTIVE, Stage, purpose_of
from shared.machine.hours import hour_in
from shared.privacy.attempts import MOST_REPEATS
from shared.privacy.cost import event_of
from shared.privacy.ledger_format import LedgerRow


def recount_charges(ledger: RecountedLedger) -> Finding:
    """The finding about all charges of the plan: as their stage says, one release a round."""
    plan, entry = ledger.plan, ledger.entry
    asked = [] if entry is None else [each for each in plan.stages if entry.role in each.roles]
    problems = [problem for row in ledger.charges for problem in _lock_problems(ledger, row)]
    problems += [problem for row in ledger.charges for problem in _misfits(ledger, row)]
    released = Counter((row.stage, row.round) for row in ledger.released_charges)
    problems += [
        f"{place_of(*place)} was released {count} times"
        for place, count in sorted(released.items())
        if count > 1
    ]
    requests: dict[tuple[str, int], set[str]] = {}
    for row in ledger.charges:
        requests.setdefault((row.stage, row.round), set()).add(row.request_sha256)
    problems += [
        f"{place_of(*place)} was charged for {len(each)} different requests"
        for place, each in sorted(requests.items())
        if len(each) > 1
    ]
    problems += [problem for row in ledger.attempts for problem in _attempt_problems(ledger, row)]
    n_planned = sum(stage.rounds for stage in asked)
    return judge(
        ledger.site,
        "Each round was released at most once, with its stage's noise, sample rate and steps; a "
        "prospective one under a lock that a named person had accepted.",
        problems,
        holds=f"{len(released)} of the {n_planned} rounds of {len(asked)} stages left, each charged as "
        "planned",
        blind_to="Whether the noise that was charged was drawn: see conformance and canaries.",
        figures={
            "rounds_planned": n_planned,
            "rounds_released": len(released),
            "charges": len(ledger.charges),
            "charges_without_release": len(ledger.charges) - released.total(),
            "attempts": len(ledger.charges) + len(ledger.attempts),
        },
    )


def recount_splits(ledger: RecountedLedger) -> list[Finding]:
    """The finding about whom an internal validation measured; none where nothing was trained."""
    members: dict[str, set[str]] = {"train": set(), "evaluate.internal": set()}
    for row in ledger.charges:
        members.get(row.purpose, set()).add(row.members_sha256)
    trained, measured = members.values()
    if not (trained and measured):
        return []
    return [
        judge(
            ledger.site,
            "An internal validation measures other patients than those who trained.",
            ["a validation was charged to the very patients of the training"]
            if trained & measured
            else [],
            holds="the charges name another set of patients",
            blind_to="Sets that overlap in part: a ledger holds their hashes alone.",
        )
    ]


def _attempt_problems(ledger: RecountedLedger, attempt: LedgerRow) -> list[str]:
    """Why a charge could not pay for this further attempt."""
    charge, place = charge_of(ledger, attempt), f"row {attempt.index}"
    if charge is None:
        return [f"{place} is an attempt without a charge before it"]
    since = ledger.rows[charge.index + 1 : attempt.index + 1]
    about = [row.kind for row in since if row.charge_index == charge.index]
    problems = []
    if "outcome" in about:
        problems.append(
            f"{place} is an attempt on the charge of row {charge.index}, which was answered"
        )
    if any(row.kind == "moved" for row in since):
        problems.append(f"{place} is an attempt on a charge of before the folder was copied")
    if about.count("attempt") > MOST_REPEATS:
        problems.append(f"{place} is more than the {MOST_REPEATS} repeats that a charge pays for")
    return problems


def _misfits(ledger: RecountedLedger, row: LedgerRow) -> list[str]:
    """What of a charge differs from the plan's stage."""
    place = f"row {row.index} ({place_of(row.stage, row.round)})"
    stage = next((each for each in ledger.plan.stages if each.name == row.stage), None)
    if stage is None:
        return [f"{place}: the plan has no such stage"]
    if not 1 <= row.round <= stage.rounds:
        return [f"{place}: the plan has rounds 1 to {stage.rounds}"]
    problems = []
    if ledger.entry is None or ledger.entry.role not in stage.roles:
        problems.append(f"{place}: the stage asks sites of role {' or '.join(stage.roles)}")
    if row.purpose != purpose_of(stage):
        problems.append(f"{place}: charged as {row.purpose}, the stage is {purpose_of(stage)}")
    if row.charge_class != stage.release_class:
        problems.append(f"{place}: class {row.charge_class}, the plan has {stage.release_class}")
    charged, planned = (row.noise_multiplier, row.sample_rate, row.steps), _planned(stage, row.round)
    if charged != planned:
        problems.append(f"{place}: {_noise(charged)}; the plan has {_noise(planned)}")
    return problems


def _lock_problems(ledger: RecountedLedger, charge: LedgerRow) -> list[str]:
    """Why a prospective charge stands under no lock that a person here accepted before it.

    Clocks of simulations go back, those of hospitals do not: an acceptance that is older than a row
    before it would make films of before it prospective.
    """
    if charge.purpose != PROSPECTIVE:
        return []
    place, is_simulated = f"row {charge.index}", ledger.plan.settings.is_simulated
    accepted = [row for row in ledger.rows[: charge.index] if row.kind == "accepted"]
    of_plan = [row for row in accepted if row.plan_sha256 == charge.plan_sha256]
    if not any(len(row.approved_by.split()) > 1 for row in of_plan):
        return [f"{place} is prospective, and nobody had accepted a lock of the plan before it"]
    return [
        f"row {row.index} accepts a lock at a time before row {row.index - 1}"
        for row in of_plan
        if not (is_simulated or ledger.plan.settings.is_synthetic)
        and _time(row) < _time(ledger.rows[row.index - 1])
    ]


def _time(row: LedgerRow) -> datetime:
    return hour_in(row.utc)


def _planned(stage: Stage, round_number: int) -> tuple[float | None, float | None, int | None]:
    event = event_of(stage, round_number)
    return (event.noise_multiplier, event.sample_rate, event.steps) if event else (None, None, None)


def _noise(values: tuple[float | None, ...]) -> str:
    names = ("noise multiplier", "sample rate", "steps")
    shown = ["none" if value is None else f"{value:g}" for value in values]
    return ", ".join(f"{name} {value}" for name, value in zip(names, shown, strict=True))
