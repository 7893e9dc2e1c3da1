"""Claims about the noise in a site's released totals, which every run folder holds: canaries or none.

Each tensor and each block of columns is held to what the plan promises (``least_noise``), as it is and
with the rounds before it taken off; and totals are held against each other, where noise that was used
twice would cancel. Imports evidence, recounted and the promise of a stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from shared.audit.finding import Finding
from shared.audit.least_noise import NONE, SURE, Floats, Residual, of_halves, residual
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.recounted import Figures, RecountedLedger, judge, not_examined, place_of
from shared.audit.recount.run_files import MEASURED, HeldReplies
from shared.contract.protocol import SumReply
from shared.stages.stage_sum import PromisedNoise, StageSum

HOLDS = "Each part of every noised total holds at least the promised noise, on the public lattice."
FRESH = "No noise was used twice: in another round, at another site, elsewhere in the same total."
# Shares of the promised noise that the power is told of: a tenth is missing, a tenth is left.
MISSING, LEFT = 0.9, 0.1
# Of a change that was cut to its bound, noise and all: a float32's worth below it.
_AT_BOUND = 1.0 - 1e-5
_BLIND_TO = (
    "Noise that is missing where patients add more than noise does. A total says nothing of clipping, "
    "sampling, or who was in it: see conformance."
)


@dataclass(frozen=True)
class NoisedTotal:
    """A released total [m] in promised SDs, and what was promised."""

    round: int
    values: Floats
    promised: PromisedNoise
    is_on_lattice: bool


def recount_totals(ledger: RecountedLedger, evidence: SiteEvidence) -> list[Finding]:
    """Findings about the noise of everything noised that the coordinator holds of one site."""
    if evidence.held is None:
        why = "no run folder was handed over"
        return [not_examined(ledger.site, claim, why) for claim in (HOLDS, FRESH)]
    return [_judge_parts(ledger, evidence), _judge_reuse(ledger, evidence)]


def _judge_parts(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """Whether each part's square is as large as the promised noise makes it."""
    problems: list[str] = []
    parts: dict[str, tuple[Residual, ...]] = {}
    for stage, totals in _totals_of(ledger, evidence, ledger.site):
        problems += [
            f"the total of {place_of(stage, each.round)} is not on the lattice"
            for each in totals
            if not each.is_on_lattice
        ]
        for part, found in _residuals_of_parts(totals).items():
            parts[f"{stage} {part}"] = found
    problems += [
        f"{name} holds too little noise: mean square {worst.mean_square:.3g} of what is promised over "
        f"{worst.n} numbers, z = {worst.z:.1f}"
        for name, found in parts.items()
        for worst in [min(found, key=lambda each: each.z)]
        if worst.is_refuted
    ]
    powers = {name: _powers(found) for name, found in parts.items()}
    sees_left = sum(left >= SURE for _, left in powers.values())
    unsure = [name for name, (missing, _) in powers.items() if missing < SURE]
    figures = _figures_of_parts(parts, powers)
    if not problems and not sees_left:
        why = "in no part of a total would missing noise show beside what patients add"
        return not_examined(ledger.site, HOLDS, f"{why}; canaries decide", figures=figures)
    return judge(
        ledger.site,
        HOLDS,
        problems,
        holds=f"of {len(parts)} parts a missing tenth of the noise would show in "
        f"{len(parts) - len(unsure)}, all but a tenth of it in {sees_left}",
        blind_to=_BLIND_TO + _canaries_decide(ledger, unsure),
        figures=figures,
    )


def _canaries_decide(ledger: RecountedLedger, unsure: list[str]) -> str:
    """What of a plan's parts is left to the canaries, and whether it has any."""
    if not unsure:
        return ""
    training = ledger.plan.training
    have = "" if training and training.canaries else ", of which this plan has none"
    return (
        f" A missing tenth would show with less than {SURE} in {', '.join(unsure)}: there canaries "
        f"decide{have}."
    )


def _residuals_of_parts(totals: list[NoisedTotal]) -> dict[str, tuple[Residual, ...]]:
    """Of each part, all rounds together: as they are, and without the mean of the rounds before."""
    found: dict[str, tuple[Residual, ...]] = {}
    for number, total in enumerate(totals):
        before = [each.values for each in totals[:number] if each.values.size == total.values.size]
        known = np.mean(before, axis=0) if before else None
        for name, part in total.promised.parts.items():
            alone, after = found.get(name, (NONE, NONE))
            values = total.values[part]
            if known is not None:
                after += residual(values, known[part], known_noise=1.0 / len(before))
            found[name] = (alone + residual(values), after)
    return found


def _powers(found: tuple[Residual, ...]) -> tuple[float, float]:
    """Chances to notice that a tenth of the noise is missing, and that a tenth is left."""
    return max(each.power(MISSING) for each in found), max(each.power(LEFT) for each in found)


def _figures_of_parts(
    parts: Mapping[str, tuple[Residual, ...]], powers: Mapping[str, tuple[float, float]]
) -> Figures:
    every = [each for found in parts.values() for each in found if each.n]
    figures: Figures = {"parts": len(parts)}
    if every:
        figures["smallest_z"] = round(min(each.z for each in every), 2)
    for name, found in parts.items():
        missing, left = powers[name]
        figures[f"{name}: mean square"] = round(found[0].mean_square, 4)
        figures[f"{name}: power, a tenth missing"] = round(missing, 3)
        figures[f"{name}: power, a tenth left"] = round(left, 3)
    return figures


def _judge_reuse(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    """Whether something known before takes noise off a total."""
    pairs = list(_comparisons(ledger, evidence))
    problems = [
        f"{what}: the noise of one is in the other, z = {found.z:.1f}"
        for what, found in pairs
        if found.is_refuted
    ]
    n_sure = sum(found.power(0.0) >= SURE for _, found in pairs)
    figures: Figures = {"comparisons": len(pairs), "would_show": n_sure}
    if pairs:
        figures["smallest_z"] = round(min(found.z for _, found in pairs), 2)
    if not problems and not n_sure:
        why = "in no pair of totals would the same noise show beside what patients add"
        return not_examined(ledger.site, FRESH, f"{why}; canaries decide", figures=figures)
    return judge(
        ledger.site,
        FRESH,
        problems,
        holds=f"the same noise would show in {n_sure} of {len(pairs)} comparisons, and shows in none",
        blind_to=_BLIND_TO,
        figures=figures,
    )


def _comparisons(ledger: RecountedLedger, evidence: SiteEvidence) -> Iterator[tuple[str, Residual]]:
    """Two totals, or two stretches of one, and what is left when one is taken off the other."""
    others = {site: dict(_totals_of(ledger, evidence, site)) for site in sorted(evidence.others)}
    for stage, totals in _totals_of(ledger, evidence, ledger.site):
        for number, total in enumerate(totals):
            where = place_of(stage, total.round)
            for earlier in totals[:number]:
                if earlier.values.size == total.values.size:
                    left = residual(total.values, earlier.values, known_noise=1.0)
                    yield f"{place_of(stage, earlier.round)} and {total.round}", left
            for site, theirs in others.items():
                for each in theirs.get(stage, []):
                    if (each.round, each.values.size) == (total.round, total.values.size):
                        left = residual(total.values, each.values, known_noise=1.0)
                        yield f"{where} here and at {site}", left
        yield from _within(stage, totals)


def _within(stage: str, totals: list[NoisedTotal]) -> Iterator[tuple[str, Residual]]:
    """Stretches of one total, all rounds of one shape together."""
    found: dict[str, Residual] = {}
    for total in totals:
        parts = {name: total.values[part] for name, part in total.promised.parts.items()}
        halves = {"the whole": total.values} | (parts if len(parts) > 1 else {})
        for name, values in halves.items():
            what = f"both halves of {name} of {stage}"
            found[what] = found.get(what, NONE) + of_halves(values)
        for (first, one), (second, other) in pairwise(parts.items()):
            n = min(one.size, other.size)
            what = f"{first} and {second} of {stage}"
            left = residual(other[:n], one[:n], known_noise=1.0)
            found[what] = found.get(what, NONE) + left
    yield from found.items()


def _totals_of(
    ledger: RecountedLedger, evidence: SiteEvidence, site: str
) -> Iterator[tuple[str, list[NoisedTotal]]]:
    """A site's noised totals of each stage, by rising round."""
    own = evidence.held if site == ledger.site else evidence.others[site]
    entry = next((each for each in ledger.plan.roster if each.site == site), None)
    if own is None or entry is None:
        return
    for stage in ledger.plan.stages:
        asked = evidence.sums.get(stage.name)
        if asked is None or stage.release_class != "dp":
            continue
        found = [
            total
            for number, reply in _held_rounds(own, stage.name, stage.rounds)
            for total in [_noised(asked, reply, number, entry.declared_patients)]
            if total is not None
        ]
        if found:
            yield stage.name, found


def _held_rounds(held: HeldReplies, stage: str, rounds: int) -> Iterator[tuple[int, SumReply]]:
    for number in range(1, rounds + 1):
        reply = held.replies.get((stage, number))
        if reply is not None and reply.status == MEASURED:
            yield number, reply


def _noised(
    asked: StageSum, reply: SumReply, number: int, declared_patients: int
) -> NoisedTotal | None:
    """A reply's total in promised SDs; None where its size is another, or it was cut to its bound."""
    promised = asked.promised(number, declared_patients=declared_patients)
    bound = asked.bound(number)
    total = np.asarray(reply.total, dtype=np.float64)
    is_whole = total.shape == (bound.length,) and bool(np.isfinite(total).all())
    if not is_whole or promised.fresh_sd == 0:
        return None
    if bound.norm_max is not None and np.linalg.norm(total) >= _AT_BOUND * bound.norm_max:
        return None
    steps = total / promised.spacing if promised.spacing else np.zeros(1)
    is_on_lattice = bool((steps == np.rint(steps)).all())
    return NoisedTotal(number, total / promised.fresh_sd, promised, is_on_lattice)
