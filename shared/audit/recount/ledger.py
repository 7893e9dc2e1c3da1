"""Claims about a site's ledger: chain, countersignatures, plan, charges, cost, lifetime.

The second accountant is dp-accounting's privacy loss distributions, an optional installation; this is
its one door. Imports recounted, evidence and the privacy package.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from shared.audit.finding import Finding
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.recounted import (
    SAME_FORMULA,
    Figures,
    RecountedLedger,
    bounds,
    is_same,
    judge,
    not_examined,
)
from shared.contract.plan import Plan
from shared.errors import OsteoFedError
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import predict_cost
from shared.privacy.events import GaussianEvent, merge_events
from shared.privacy.filter import filter_epsilon
from shared.privacy.ledger_format import LedgerRow

# Two numeric accountants of one mechanism differ by at most this; measured: 0.011.
ACCOUNTANTS_AGREE = 0.02


def recount_ledger(ledger: RecountedLedger, evidence: SiteEvidence) -> list[Finding]:
    """Findings about a verified ledger."""
    return [
        _judge_countersignatures(ledger, evidence),
        _judge_plan(ledger),
        _judge_charges(ledger),
        _judge_cost(ledger),
        _judge_lifetime(ledger, evidence),
    ]


def second_epsilon(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε by dp-accounting's privacy loss distributions (Google), independent of ``accountant``.

    Raises:
        ModuleNotFoundError: dp-accounting is not installed.
    """
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for event in merge_events(events):
        gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
        step = (
            gaussian
            if event.sample_rate == 1
            else dp_event.PoissonSampledDpEvent(event.sample_rate, gaussian)
        )
        accountant.compose(dp_event.SelfComposedDpEvent(step, event.steps))
    return float(accountant.get_epsilon(delta))


def _judge_countersignatures(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    claim = "The coordinator countersigned the ledger's heads, so rows cannot be taken back."
    made = evidence.export.countersignatures
    seen = [ledger.hashes[each.head_sha256] for each in made]  # the chain holds them, see `rows`
    figures: Figures = {
        "countersigned_heads": len(seen),
        "newest_countersigned_row": max(seen, default=None),
        "coordinator_key": evidence.coordinator_key,
        "rows_after_it": len(ledger.rows) - 1 - max(seen, default=-1),
    }
    problems = _left_out(ledger, evidence)
    if not seen and not problems:
        why = "no head is countersigned: the first request after a reply carries one"
        return not_examined(ledger.site, claim, why, figures=figures)
    strangers = [each for each in made if each.coordinator_key != evidence.coordinator_key]
    if strangers:
        problems.append(f"{len(strangers)} countersignatures are not by the coordinator's key")
    return judge(
        ledger.site,
        claim,
        problems,
        holds=f"heads up to row {max(seen, default=0)} carry the coordinator's genuine signature",
        blind_to="Rows after the newest countersigned head: until the next request they could be taken "
        "back; heads in the run folder close that gap where it was handed over.",
        figures=figures,
    )


def _left_out(ledger: RecountedLedger, evidence: SiteEvidence) -> list[str]:
    """Countersignatures that the coordinator's folder shows to exist and the export does not have."""
    if evidence.held is None:
        return []
    signed = {each.head_sha256 for each in evidence.export.countersignatures}
    held = {reply.ledger_head for reply in evidence.held.updates.values()}
    held |= {reply.ledger_head for reply in evidence.held.tables.values()}
    problems = []
    for row in ledger.charges:
        earlier = [each for each in ledger.charges if each.sha256 in held and each.index < row.index]
        if earlier and earlier[-1].sha256 not in signed:
            problems.append(
                f"{_asked(row)} was asked for with the countersigned head of {_asked(earlier[-1])}, "
                "which the export leaves out"
            )
    return problems


def _asked(charge: LedgerRow) -> str:
    return f"round {charge.round}" if charge.round else charge.purpose


def _judge_plan(ledger: RecountedLedger) -> Finding:
    plan, site = ledger.plan, ledger.site
    problems = []
    if not ledger.charges:
        problems.append(f"no charge names plan {plan.sha256[:12]}: wrong files, or nothing was charged")
    others = {row.plan_sha256 for row in ledger.rows if row.run == plan.run} - {plan.sha256}
    if others:
        problems.append(f"rows of run {plan.run} name {len(others)} other plans")
    if site not in {entry.site for entry in plan.roster}:
        problems.append(f"site {site} is not on the plan's roster")
    elif plan.entry(site).public_key not in {row.public_key for row in ledger.rows}:
        problems.append("the key that the plan's roster names for this site never signed its ledger")
    problems += _mispriced(plan)
    return judge(
        site,
        "What was charged belongs to this plan, and the plan states its true cost.",
        problems,
        holds="charges name the plan, and its predicted cost follows from its settings",
        blind_to="Whether the named person at the site understood what was approved.",
        figures={
            "charges": len(ledger.charges),
            "predicted_training_epsilon": plan.predicted.training_epsilon,
            "predicted_validation_epsilon": plan.predicted.validation_epsilon,
            "delta": plan.predicted.delta,
        },
    )


def _mispriced(plan: Plan) -> list[str]:
    """What of the plan's stated cost its own settings do not give."""
    try:
        true = predict_cost(plan.settings)
    except OsteoFedError as error:
        return [error.fact]
    stated = plan.predicted
    epsilons = {"training_epsilon": 0.0, "validation_epsilon": 0.0, "description_epsilon": 0.0}
    is_same_cost = all(is_same(getattr(stated, name), getattr(true, name)) for name in epsilons)
    if is_same_cost and stated.model_copy(update=epsilons) == true.model_copy(update=epsilons):
        return []
    return ["the plan does not state the cost that its own settings give"]


def _judge_charges(ledger: RecountedLedger) -> Finding:
    rounds = ledger.plan.settings.federation.rounds or 0
    training = [row for row in ledger.charges if row.purpose == "train"]
    problems = [problem for row in ledger.charges for problem in _misfits(ledger.plan, row)]
    released = [row.round for row in ledger.released_charges if row.purpose == "train"]
    problems += [
        f"round {number} was released {released.count(number)} times"
        for number in sorted(set(released))
        if released.count(number) > 1
    ]
    requests: dict[int, set[str]] = {}
    for row in training:
        requests.setdefault(row.round, set()).add(row.request_sha256)
    problems += [
        f"round {number} was charged for {len(asked)} different requests"
        for number, asked in sorted(requests.items())
        if len(asked) > 1
    ]
    return judge(
        ledger.site,
        "Each round was released at most once, with the plan's noise, sample rate and steps.",
        problems,
        holds=f"{len(set(released))} of the plan's {rounds} rounds left, each charged as planned"
        if training
        else "no part in training; each table was charged as planned",
        blind_to="Whether the noise that was charged was drawn: see conformance and canaries.",
        figures={
            "rounds_planned": rounds,
            "rounds_released": len(set(released)),
            "training_charges": len(training),
            "charges_without_release": len(training) - len(released),
            "noise_multiplier": ledger.plan.settings.privacy.noise_multiplier,
            "sample_rate": ledger.plan.settings.privacy.sample_rate,
            "steps_per_round": ledger.plan.settings.federation.local_steps,
        },
    )


def _misfits(plan: Plan, row: LedgerRow) -> list[str]:
    """What of a charge differs from the plan."""
    privacy, federation, predicted = plan.settings.privacy, plan.settings.federation, plan.predicted
    place = f"row {row.index} ({row.purpose}, round {row.round})"
    problems = []
    if row.purpose == "train":
        is_dp = privacy.mode == "patient_dp"
        planned = (privacy.noise_multiplier, privacy.sample_rate, federation.local_steps)
        wanted_class = "dp" if is_dp else "off"
        if not 1 <= row.round <= (federation.rounds or 0):
            problems.append(f"{place}: the plan has rounds 1 to {federation.rounds}")
    else:
        is_dp = plan.settings.validation.release_class == "dp"
        is_described = row.purpose == "evaluate.description"
        planned = (
            predicted.description_noise_multiplier
            if is_described
            else predicted.validation_noise_multiplier,
            1.0,
            1,
        )
        if is_described and plan.settings.validation.description_epsilon is None:
            problems.append(f"{place}: the plan releases no description")
        wanted_class = plan.settings.validation.release_class
    if row.charge_class != wanted_class:
        problems.append(f"{place}: class {row.charge_class}, the plan has {wanted_class}")
    charged = (row.noise_multiplier, row.sample_rate, row.steps)
    wanted = planned if is_dp else (None, None, None)
    if charged != wanted:
        problems.append(f"{place}: {_noise(charged)}; the plan has {_noise(wanted)}")
    return problems


def _noise(values: tuple[float | None, ...]) -> str:
    names = ("noise multiplier", "sample rate", "steps")
    shown = ["none" if value is None else f"{value:g}" for value in values]
    return ", ".join(f"{name} {value}" for name, value in zip(names, shown, strict=True))


def _judge_cost(ledger: RecountedLedger) -> Finding:
    """ε of training, or of a table where nobody trained, by formula and by a second opinion."""
    predicted = ledger.plan.predicted
    is_trained = any(row.purpose == "train" for row in ledger.charges)
    part = "training" if is_trained else "a validation table"
    claim = "The recounted epsilon is at most the plan's, and two accountants agree on it."
    planned = predicted.training_epsilon if is_trained else predicted.validation_epsilon
    if planned is None:
        return not_examined(ledger.site, claim, "the plan promises no formal privacy guarantee")
    charged = [
        row
        for row in ledger.charges
        if (row.purpose == "train") == is_trained and row.purpose != "evaluate.description"
    ]
    booked = [row.event for row in charged if row.event]
    paid = {row.index for row in ledger.released_charges}
    released = [row.event for row in charged if row.event and row.index in paid]
    if not is_trained:
        # Tables are of disjoint splits; each is priced alone.
        booked, released = booked[:1], released[:1]
    exact, delta = epsilon_of(released, predicted.delta), predicted.delta
    figures: Figures = {
        "epsilon_recounted": exact,
        "epsilon_second_accountant": None,
        "epsilon_planned": planned,
        "epsilon_with_unreleased_charges": epsilon_of(booked, delta),
        "delta": delta,
    }
    try:
        second = second_epsilon(released, delta) if released else 0.0
    except ModuleNotFoundError:
        return not_examined(
            ledger.site,
            claim,
            "dp-accounting is not installed: pip install 'osteofed[audit]'",
            figures=figures,
        )
    figures["epsilon_second_accountant"] = second
    problems = []
    if not math.isclose(exact, second, rel_tol=0, abs_tol=ACCOUNTANTS_AGREE):
        problems.append(f"accountants differ: {exact:.3f} and {second:.3f}")
    if max(exact, second - ACCOUNTANTS_AGREE) > planned + SAME_FORMULA:
        problems.append(f"{part} cost epsilon {exact:.3f}, the plan promised {planned:.3f}")
    return judge(
        ledger.site,
        claim,
        problems,
        holds=f"{part}: {exact:.3f} by formula, {second:.3f} by PLD, {planned:.3f} promised",
        blind_to="Whether mechanism and sampler are what the accountant supposes: see conformance.",
        figures=figures,
    )


def _judge_lifetime(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    account, rows = evidence.export.account, ledger.rows
    delta, cap, stated = account.delta, account.epsilon_cap, account.epsilon_spent
    low, high = bounds(rows, lambda events: filter_epsilon(events, delta))
    n_unprotected = sum(row.kind == "charge" and row.event is None for row in rows)
    claim = "No patient has paid more than the hospital's lifetime cap, and the site's account is true."
    figures: Figures = {
        "lifetime_epsilon_at_least": low,
        "lifetime_epsilon_at_most": high,
        "site_says": stated,
        "cap": cap,
        "delta": delta,
        "charges_without_guarantee": n_unprotected,
    }
    problems = []
    if low > cap + SAME_FORMULA:
        problems.append(f"one list of patients alone was charged {low:.3f}, the cap is {cap:g}")
    if not low - SAME_FORMULA <= stated <= high + SAME_FORMULA:
        problems.append(f"the site says {stated:.3f}; the rows allow {low:.3f} to {high:.3f}")
    if account.n_unprotected != n_unprotected:
        problems.append(
            f"the site says {account.n_unprotected} charges without guarantee, rows say {n_unprotected}"
        )
    if not problems and high > cap:
        why = (
            f"rows allow {low:.3f} to {high:.3f} and the cap is {cap:g}; who is on which list stays at "
            f"the site, which says {stated:.3f}"
        )
        return not_examined(ledger.site, claim, why, figures=figures)
    return judge(
        ledger.site,
        claim,
        problems,
        holds=f"even if every charge had hit one patient: {high:.3f} of {cap:g}",
        blind_to="Which patients a list names; charges of another ledger that the site might keep.",
        figures=figures,
    )
