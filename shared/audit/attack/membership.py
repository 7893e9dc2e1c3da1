"""Who was in training: two attacks on a release, against the most that a claimed ε lets any reach.

Reference models are trained by the code that trains the real ones, on random halves of a site's members
and non-members; what the release under attack says of a patient is compared with what references say
that saw that patient and with references that did not. Imports training in memory, measures, the scores
of the attacks and the ceilings of claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_expit, logit
from scipy.stats import beta

from shared.audit.attack.ceilings import auc_ceiling, true_rate_ceiling
from shared.audit.attack.scores import (
    Bools,
    Floats,
    lira_offline_scores,
    lira_scores,
    rmia_scores,
)
from shared.audit.finding import Finding, Verdict
from shared.contract.decision import decision_of
from shared.contract.model_settings import ModelSettings
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import TrainingStage
from shared.errors import AuditError
from shared.measure.exact.discrimination import measure_auc
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent
from shared.stages.in_memory import train_in_memory
from shared.stages.scores import Scorer, scorer_of
from shared.sums.intervals import GRID_POINTS, accepted, auc_variance
from shared.train.patients import PatientBatch

MINIMUM_REFERENCES = 16
FALSE_RATE = 0.01
_BLIND_TO = (
    "Stronger attackers, who see every update, craft patients or train more references, and patients "
    "unlike the audited ones. Intervals take patients as independent given the weights; one release is "
    "one draw of the noise."
)


@dataclass(frozen=True, kw_only=True)
class AuditedSite:
    """One training site's part of an attacked run: who could have been in it, and who was.

    Best with about as many non-members as members: references train on half of the pool.

    Args:
        site: its name on the plan's roster.
        pool: members and non-members alike, all with a labelled exam.
        is_member: [n], True = was in the training split.
    """

    site: str
    pool: PatientBatch
    is_member: Bools


@dataclass(frozen=True, kw_only=True)
class AttackRun:
    """Scores of every attack on the patients of all sites, higher = "member".

    Shapes: each of ``scores`` [n], is_member [n].
    """

    scores: Mapping[str, Floats]
    is_member: Bools
    n_references: int


@dataclass(frozen=True, kw_only=True)
class AttackMeasures:
    """How well scores tell members from non-members, with two-sided intervals.

    ``true_rate``: share of members called so at a threshold that at most 1 % of the non-members pass.
    ``false_rate_high``: upper end for that threshold's false positive rate among all such patients.
    """

    auc: float
    auc_low: float
    auc_high: float
    true_rate: float
    true_rate_low: float
    true_rate_high: float
    false_rate_high: float


def attack_run(
    plan: Plan,
    stage: TrainingStage,
    sites: Sequence[AuditedSite],
    weights: Vector,
    *,
    n_references: int = MINIMUM_REFERENCES,
    seed: int,
    encoder_file: Path | None = None,
) -> AttackRun:
    """Scores of LiRA and RMIA on a release.

    Args:
        plan: of the run.
        stage: of it that trained the release, or as it is rehearsed.
        sites: the training sites, in roster order.
        weights: the release under attack [p].
        n_references: even, at least 16; half of them saw any one patient.
        seed: draws the halves.
        encoder_file: as ``build_model`` takes it.

    Raises:
        AuditError: too few references, or a patient of a pool cannot be scored.
    """
    if n_references < MINIMUM_REFERENCES or n_references % 2:
        raise AuditError(
            "too-few-references",
            f"n_references must be even and at least {MINIMUM_REFERENCES}, not {n_references}",
        )
    generator = np.random.default_rng(seed)
    scorer = scorer_of(plan, stage, encoder_file)
    target = _signals(plan.settings, sites, weights, scorer)
    signals, was_in = [], []
    for _ in range(n_references // 2):
        half = [generator.permutation(len(site.pool)) < len(site.pool) // 2 for site in sites]
        for chosen in (half, [~part for part in half]):
            reference = train_release(plan, stage, sites, chosen, encoder_file)
            signals.append(_signals(plan.settings, sites, reference, scorer))
            was_in.append(np.concatenate(chosen))
    references, seen = np.stack(signals), np.stack(was_in)
    likelihood = _log_likelihoods(plan.settings, target, references, seen)
    return AttackRun(
        scores={
            "LiRA": lira_scores(target, references, seen),
            "LiRA offline": lira_offline_scores(target, references, seen),
            "RMIA": rmia_scores(*likelihood, seen),
        },
        is_member=np.concatenate([site.is_member for site in sites]),
        n_references=n_references,
    )


def train_release(
    plan: Plan,
    stage: TrainingStage,
    sites: Sequence[AuditedSite],
    chosen: Sequence[Bools],
    encoder_file: Path | None = None,
) -> Vector:
    """The release [p] of a run in which each site trains on the ``chosen`` [n] of its pool."""
    patients = {
        site.site: site.pool.select(np.flatnonzero(mask).tolist())
        for site, mask in zip(sites, chosen, strict=True)
    }
    return train_in_memory(plan, stage, patients, encoder_file=encoder_file)


def attack_measures(scores: Floats, is_member: Bools, *, confidence: float = 0.95) -> AttackMeasures:
    """AUC and true positive rate at 1 % false positives. Shapes: scores [n], is_member [n].

    Intervals: Newcombe's method 5 for the AUC, Clopper and Pearson 1934 (Biometrika 26:404) for rates.

    Raises:
        ProtocolError: only members or only non-members.
    """
    auc = measure_auc(scores, is_member)
    members, others = scores[is_member], np.sort(scores[~is_member])[::-1]
    grid = np.linspace(0.0, 1.0, GRID_POINTS)
    variance = auc_variance(grid, members.size, others.size)
    low, high = accepted(grid, auc - grid, variance, point=auc, confidence=confidence)
    n_passing = int(FALSE_RATE * others.size)
    found = int((members > others[n_passing]).sum())
    true_low, true_high = _share_interval(found, members.size, confidence)
    return AttackMeasures(
        auc=auc,
        auc_low=low,
        auc_high=high,
        true_rate=found / members.size,
        true_rate_low=true_low,
        true_rate_high=true_high,
        false_rate_high=_share_interval(n_passing, others.size, confidence)[1],
    )


def membership_findings(
    run: AttackRun,
    events: Sequence[GaussianEvent],
    *,
    site: str,
    delta: float,
    confidence: float = 0.95,
) -> list[Finding]:
    """One finding per attack; all comparisons share 1 − ``confidence``.

    Args:
        run: the attacks' scores.
        events: what the claim says was done to a patient; none when privacy was off.
        site: whose patients were attacked.
        delta: of the claim.
        confidence: a true claim passes at least this often.
    """
    # An interval errs on its lower side in half of its cases; two comparisons per attack.
    each = 1 - (1 - confidence) / len(run.scores)
    claimed = epsilon_of(events, delta) if events else None
    findings = []
    for attack, scores in run.scores.items():
        found = attack_measures(scores, run.is_member, confidence=each)
        figures: dict[str, float | int | str | None] = {
            "auc": found.auc,
            "auc_low": found.auc_low,
            "auc_high": found.auc_high,
            "true_rate": found.true_rate,
            "true_rate_low": found.true_rate_low,
            "true_rate_high": found.true_rate_high,
            "false_rate": FALSE_RATE,
            "false_rate_high": found.false_rate_high,
            "n_members": int(run.is_member.sum()),
            "n_others": int((~run.is_member).sum()),
            "n_references": run.n_references,
            "confidence": confidence,
        }
        verdict: Verdict = "not-run"
        because = f"no formal privacy guarantee is claimed; {attack} reaches an AUC of {found.auc:.3f}"
        if events:
            auc_limit = auc_ceiling(events)
            rate_limit = true_rate_ceiling(found.false_rate_high, events)
            figures |= {
                "auc_ceiling": auc_limit,
                "true_rate_ceiling": true_rate_ceiling(FALSE_RATE, events),
                "true_rate_ceiling_at_false_rate_high": rate_limit,
            }
            is_broken = found.auc_low > auc_limit or found.true_rate_low > rate_limit
            verdict = "fail" if is_broken else "pass"
            because = (
                f"{attack} reaches an AUC of {found.auc:.3f} ({found.auc_low:.3f} to "
                f"{found.auc_high:.3f}); the claim allows {auc_limit:.3f}"
            )
        promise = "nothing" if claimed is None else f"epsilon {claimed:.2f} at delta {delta:g}"
        findings.append(
            Finding(
                method="membership",
                site=site,
                claim=f"{attack} tells members from others no better than {promise} allows.",
                verdict=verdict,
                because=because,
                figures=figures,
                blind_to=_BLIND_TO,
            )
        )
    return findings


def _signals(
    settings: ModelSettings,
    sites: Sequence[AuditedSite],
    weights: Vector,
    scorer: Scorer,
) -> Floats:
    """What weights say of each patient [n], higher = fitted better.

    Regression: −|error| in SD of the target, closer to normal than its square. Classification: the
    logit of the probability that the label is, or is not, the positive class.
    """
    task, decision = settings.task, decision_of(settings)
    parts = []
    for site in sites:
        scored = scorer.score(weights, site.pool).earliest()
        output, label = decision.score(scored.outputs), scored.label
        if output.size != site.is_member.size:
            raise AuditError(
                "unscorable-patients",
                "every patient of an attacked pool must have a labelled exam that can be scored",
                hint="leave the others out of the pool",
            )
        if task.kind == "regression":
            parts.append(-np.abs(output - label) / task.target_sd)
        else:
            is_positive = decision.is_positive(label)
            parts.append(np.where(is_positive, 1.0, -1.0) * logit(np.clip(output, 1e-12, 1 - 1e-12)))
    return np.concatenate(parts)


def _log_likelihoods(
    settings: ModelSettings, target: Floats, references: Floats, was_in: Bools
) -> tuple[Floats, Floats]:
    """Signals [n], [r,n] as log likelihoods of the label.

    Regression: a normal error with the variance found where references did not see the patient.
    """
    if settings.task.kind != "regression":
        return log_expit(target), log_expit(references)
    variance = max(float((references[~was_in] ** 2).mean()), 1e-12)
    return -(target**2) / (2 * variance), -(references**2) / (2 * variance)


def _share_interval(hits: int, total: int, confidence: float) -> tuple[float, float]:
    """Clopper–Pearson interval of hits/total."""
    side = (1 - confidence) / 2
    low = float(beta.ppf(side, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - side, hits + 1, total - hits)) if hits < total else 1.0
    return low, high
