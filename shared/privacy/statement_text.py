"""A privacy statement as one page of plain text, from its predicate and nothing else.

Imports the statement.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from shared.privacy.accountant import NO_ACCOUNTANT
from shared.privacy.statement import NO_GUARANTEE, PrivacyPredicate, StatedRelease

_WIDTH = 96
_LABEL = 22
Facts = Mapping[str, str]


def statement_text(predicate: PrivacyPredicate) -> str:
    """The page: promise, mechanism, releases, where the proof lies, what is not covered."""
    head = [
        f"PRIVACY STATEMENT of site {predicate.site}, run {predicate.run}",
        *_wrapped(
            f"Issued {predicate.issued_utc[:16].replace('T', ' ')}. This page repeats statement.json, "
            "which carries the signatures; where they differ, that file counts."
        ),
    ]
    return "\n".join(
        [
            *head,
            *_section("What a patient is promised", _promise(predicate)),
            *_section("How", _mechanism(predicate)),
            *_section("What left about patients", _releases(predicate.releases)),
            *_section("Where it can be recounted", _proof(predicate)),
            *_audits(predicate),
            *_list("What is not covered", predicate.caveats),
            "",
        ]
    )


def _promise(predicate: PrivacyPredicate) -> Facts:
    cost, life = predicate.cost, predicate.lifetime
    planned = (
        f" (planned before the first touch: {write_epsilon(cost.planned_epsilon)})"
        if predicate.role == "training"
        else ""
    )
    without_noise = f"{cost.n_unprotected} charges in this run, {life.n_unprotected} in all runs"
    if cost.accountant == NO_ACCOUNTANT and not life.epsilon:
        return {"guarantee": predicate.guarantee, "without noise": without_noise}
    return {
        "guarantee": predicate.guarantee,
        "unit": f"{predicate.unit}: everything of one person in this site's cohort",
        "adjacency": predicate.adjacency,
        "delta": f"{cost.delta:g}",
        "training": write_epsilon(cost.training_epsilon) + planned,
        "whole run": f"{write_epsilon(cost.run_epsilon)}, the dearest patient, validation included",
        "lifetime": f"{write_epsilon(life.epsilon)} at delta {life.delta:g}, all runs; cap "
        f"{life.epsilon_cap:g} at delta {life.delta_cap:g}",
        "without noise": without_noise,
        "accountant": f"{cost.accountant} ({cost.accountant_version})".removesuffix(" ()")
        + f"; lifetime: {life.filter}",
        "trust tier": f"{predicate.trust_tier}: holds against everybody, the coordinator included",
    }


def _mechanism(predicate: PrivacyPredicate) -> Facts:
    made = predicate.mechanism
    own = {"mechanism": "no part in training"}
    if made is not None:
        levels = dict.fromkeys(f"{each:g}" for each in made.noise_multipliers if each)
        own = {
            "mechanism": made.name,
            "noise multiplier": ", ".join(levels) or "none",
            "clip norm": f"{made.clip_norm:g} per patient"
            if made.clip_norm
            else "none: each row has the bound that the plan's learner gives it",
            "sample rate": f"{made.sample_rate:g}",
            "steps": f"{made.steps} in {made.rounds} rounds",
        }
    return own | {
        "noise from": predicate.noise_source,
        "declared patients": f"{predicate.declared_patients}, a published size bucket and no count",
    }


def _releases(releases: Sequence[StatedRelease]) -> Facts:
    groups: dict[tuple[str, str], list[StatedRelease]] = {}
    for release in releases:
        groups.setdefault((release.channel, release.release_class), []).append(release)
    return {
        f"{channel}, {kind}": f"{len(group)} message{'s' if len(group) > 1 else ''}, "
        f"{write_epsilon(group[0].epsilon)} for one alone"
        for (channel, kind), group in groups.items()
    }


def _proof(predicate: PrivacyPredicate) -> Facts:
    ledger, software = predicate.ledger, predicate.software
    seen = ledger.countersigned
    is_same = software.code_sha256 == software.plan_code_sha256
    return {
        "plan": predicate.plan_sha256,
        "ledger head": f"row {ledger.head_index}, {ledger.head_sha256}",
        "countersigned": f"row {seen.index}, {seen.head_sha256}" if seen else "no head yet",
        "cohorts (keyed ids)": ", ".join(each.cohort_id[:16] for each in predicate.cohorts),
        "code": f"{software.code_sha256}, {'as' if is_same else 'NOT as'} the plan was written for",
        "environment": f"{software.environment_sha256}, all that is installed; hospitals differ",
        "versions": f"python {software.python}, torch {software.torch}, opacus {software.opacus}",
        "governed by": ", ".join(predicate.governed_by) or "nobody: no governed release",
    }


def _audits(predicate: PrivacyPredicate) -> list[str]:
    lines = [
        f"{each.method}: {each.verdict} (signed by {each.auditor_key[:16]}, report "
        f"{each.report_sha256[:16]})"
        for each in predicate.audits
    ]
    return _list("Audits so far", lines or ["none is stated here"])


def write_epsilon(epsilon: float | None) -> str:
    """``epsilon 3.000``, or the words for none."""
    return NO_GUARANTEE if epsilon is None else f"epsilon {epsilon:.3f}"


def _section(title: str, facts: Facts) -> list[str]:
    lines = ["", title]
    for name, value in facts.items():
        first, *others = textwrap.wrap(value, _WIDTH - _LABEL - 4) or [""]
        lines.append(f"  {name:<{_LABEL}}  {first}")
        lines += [" " * (_LABEL + 4) + other for other in others]
    return lines


def _list(title: str, items: Sequence[str]) -> list[str]:
    lines = ["", title]
    for item in items:
        lines += textwrap.wrap(item, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH)
