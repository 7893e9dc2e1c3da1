"""Claims about a site's ledger: countersignatures, plan, cost, lifetime, and the charges one by one.

The second accountant is dp-accounting's privacy loss distributions, an optional installation; this is
its one door. Imports recounted, evidence, the claim about charges and the privacy package.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from shared.audit.finding import Finding
from shared.audit.recount.charges import recount_charges, recount_splits
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.recounted import (
    SAME_FORMULA,
    Figures,
    RecountedLedger,
    bounds,
    is_same,
    judge,
    not_examined,
    place_of,
)
from shared.contract.plan import Plan, PredictedCost
from shared.contract.stages import PatientGroup
from shared.errors import OsteoFedError
from shared.privacy.accountant import delta_of_noise, epsilon_of
from shared.privacy.cost import noised_epsilon, predict_cost, touching
from shared.privacy.events import GaussianEvent, merge_events
from shared.privacy.filter import filter_epsilon

# Two numeric accountants of one mechanism differ by at most this; measured: 0.011.
ACCOUNTANTS_AGREE = 0.02


def recount_ledger(ledger: RecountedLedger, evidence: SiteEvidence) -> list[Finding]:
    """Findings about a verified ledger."""
    return [
        _judge_countersignatures(ledger, evidence),
        _judge_plan(ledger),
        recount_charges(ledger),
        *recount_splits(ledger),
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

    accountant, charged = PLDAccountant(), merge_events(events)
    for event in charged:
        gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
        step = (
            gaussian
            if event.sample_rate == 1
            else dp_event.PoissonSampledDpEvent(event.sample_rate, gaussian)
        )
        accountant.compose(dp_event.SelfComposedDpEvent(step, event.steps))
    return float(accountant.get_epsilon(delta_of_noise(charged, delta)))


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
    held = {reply.ledger_head for reply in evidence.held.replies.values()}
    problems = []
    for row in ledger.charges:
        earlier = [each for each in ledger.outcomes if each.sha256 in held and each.index < row.index]
        if earlier and earlier[-1].sha256 not in signed:
            problems.append(
                f"{place_of(row.stage, row.round)} was asked for with the countersigned head of "
                f"{place_of(earlier[-1].stage, earlier[-1].round)}, which the export leaves out"
            )
    return problems


def _judge_plan(ledger: RecountedLedger) -> Finding:
    plan, site = ledger.plan, ledger.site
    problems = []
    if not ledger.charges:
        problems.append(f"no charge names plan {plan.sha256[:12]}: wrong files, or nothing was charged")
    others = {row.plan_sha256 for row in ledger.rows if row.run == plan.run} - {plan.sha256}
    if others:
        problems.append(f"rows of run {plan.run} name {len(others)} other plans")
    if ledger.entry is None:
        problems.append(f"site {site} is not on the plan's roster")
    elif ledger.entry.public_key not in {row.public_key for row in ledger.rows}:
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
    """What of the plan's stated cost its own stages do not give."""
    try:
        true = predict_cost(plan.stages, delta=plan.settings.delta)
    except OsteoFedError as error:
        return [error.fact]
    stated = plan.predicted
    if _without_epsilons(stated) == _without_epsilons(true):
        pairs = zip(_epsilons(stated), _epsilons(true), strict=True)
        if all(is_same(said, recounted) for said, recounted in pairs):
            return []
    return ["the plan does not state the cost that its own stages give"]


def _epsilons(cost: PredictedCost) -> list[float | None]:
    purposes = [cost.training_epsilon, cost.validation_epsilon, cost.description_epsilon]
    return [*purposes, *(split.epsilon for split in cost.splits)]


def _without_epsilons(cost: PredictedCost) -> PredictedCost:
    names = ("training_epsilon", "validation_epsilon", "description_epsilon")
    splits = tuple(split.model_copy(update={"epsilon": None}) for split in cost.splits)
    return cost.model_copy(update=dict.fromkeys(names) | {"splits": splits})


@dataclass(frozen=True)
class _Group:
    """Patients whom the same stages touch: what the plan promised them, what was charged, what left.

    Of noised stages; exact ones beside them promise nothing and are counted by the lifetime.
    """

    patients: PatientGroup
    planned: float
    booked: tuple[GaussianEvent, ...]
    released: tuple[GaussianEvent, ...]


def _groups(ledger: RecountedLedger) -> list[_Group]:
    """The groups of the site's patients to whom a noised stage of the plan promises an ε."""
    paid = {row.index for row in ledger.released_charges}
    groups = []
    for split in ledger.plan.predicted.splits:
        if ledger.entry is None or split.role != ledger.entry.role:
            continue
        stages = touching(ledger.plan.stages, role=split.role, patients=split.patients)
        names = {stage.name for stage in stages if stage.release_class == "dp"}
        if not names:
            continue
        noised = noised_epsilon(stages, delta=ledger.plan.predicted.delta)
        planned = noised if split.epsilon is None else split.epsilon
        booked = [(row.index, row.event) for row in ledger.charges if row.stage in names and row.event]
        events = tuple(event for _, event in booked)
        left = tuple(event for index, event in booked if index in paid)
        groups.append(_Group(split.patients, planned, events, left))
    return groups


def _judge_cost(ledger: RecountedLedger) -> Finding:
    """ε of each group of patients over all stages that touch it, by formula and by a second opinion."""
    claim = "The recounted epsilon is at most the plan's, and two accountants agree on it."
    groups, delta = _groups(ledger), ledger.plan.predicted.delta
    if not groups:
        why = "the plan promises no formal privacy guarantee"
        return not_examined(ledger.site, claim, why)
    exact = [epsilon_of(group.released, delta) for group in groups]
    figures: Figures = {
        "epsilon_recounted": max(exact),
        "epsilon_second_accountant": None,
        "epsilon_planned": max(group.planned for group in groups),
        "epsilon_with_unreleased_charges": max(epsilon_of(group.booked, delta) for group in groups),
        "delta": delta,
    }
    try:
        second = [second_epsilon(each.released, delta) if each.released else 0.0 for each in groups]
    except ModuleNotFoundError:
        return not_examined(
            ledger.site,
            claim,
            "dp-accounting is not installed: pip install 'osteofed[audit]'",
            figures=figures,
        )
    figures["epsilon_second_accountant"] = max(second)
    problems = []
    for group, first, other in zip(groups, exact, second, strict=True):
        if not math.isclose(first, other, rel_tol=0, abs_tol=ACCOUNTANTS_AGREE):
            problems.append(f"accountants differ on {group.patients}: {first:.3f} and {other:.3f}")
        if max(first, other - ACCOUNTANTS_AGREE) > group.planned + SAME_FORMULA:
            problems.append(
                f"a patient of {group.patients} was charged epsilon {first:.3f}, the plan promised "
                f"{group.planned:.3f}"
            )
    return judge(
        ledger.site,
        claim,
        problems,
        holds="; ".join(
            f"patients of {group.patients}: {first:.3f} by formula, {other:.3f} by PLD, "
            f"{group.planned:.3f} promised"
            for group, first, other in zip(groups, exact, second, strict=True)
        ),
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
