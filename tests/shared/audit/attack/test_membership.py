"""Membership attacks: their formulas by hand, an overfitted model they must catch, private ones not."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from practice_attack import attacked_plan, random_patients
from practice_plan import trained
from scipy.special import logit, ndtr

from shared.audit.attack import membership
from shared.audit.attack.membership import (
    AttackRun,
    AuditedSite,
    attack_measures,
    attack_run,
    membership_findings,
    train_release,
)
from shared.contract.model_settings import ClassificationTask
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage
from shared.errors import AuditError
from shared.measures.exams import exams_of
from shared.measures.scored import Scored
from shared.privacy.accountant import gaussian_mu
from shared.privacy.events import GaussianEvent
from shared.stages.gradient import GradientSum
from shared.stages.scores import GradientScorer
from shared.train.patients import PatientBatch

torch.set_num_threads(1)

DELTA = 1e-5
N_CHANNELS, N_MEMBERS = 60, 60


def claim(epsilon: float) -> list[GaussianEvent]:
    """One full-batch release that costs ``epsilon``."""
    return [GaussianEvent(noise_multiplier=1 / gaussian_mu(epsilon, DELTA))]


# --- measures by hand


def test_perfect_scores_of_few_patients_still_have_an_interval() -> None:
    is_member = np.arange(40) < 20
    found = attack_measures(is_member.astype(float), is_member)
    assert found.auc == 1
    assert 0.8 < found.auc_low < 1 == found.auc_high
    assert found.true_rate == 1
    assert found.true_rate_low == pytest.approx(0.025 ** (1 / 20))  # Clopper–Pearson, all of 20
    assert found.false_rate_high == pytest.approx(1 - 0.025 ** (1 / 20))  # none of 20


def test_true_rate_is_read_where_one_percent_of_the_others_pass() -> None:
    others = np.arange(300.0)
    members = np.array([296.0, 296.5, 297.0, 500.0])  # of 300 others three may pass: 297, 298, 299
    scores = np.concatenate([members, others])
    found = attack_measures(scores, np.arange(304) < 4)
    assert found.true_rate == 0.75
    assert found.auc == pytest.approx((296.5 + 297 + 297.5 + 300) / 4 / 300)
    assert 0.01 < found.false_rate_high < 0.03


def test_interval_of_an_auc_covers_the_truth() -> None:
    draw, covered = np.random.default_rng(0), 0
    is_member = np.arange(120) < 60
    truth = float(ndtr(0.5 / math.sqrt(2)))
    for _ in range(200):
        found = attack_measures(draw.standard_normal(120) + 0.5 * is_member, is_member)
        covered += found.auc_low <= truth <= found.auc_high
    assert covered >= 184  # 95 % less two standard errors


# --- findings


def attack_with(shift: float, *, n: int = 200) -> AttackRun:
    is_member = np.arange(2 * n) < n
    scores = np.random.default_rng(1).standard_normal(2 * n) + shift * is_member
    return AttackRun(scores={"LiRA": scores}, is_member=is_member, n_references=16)


def test_an_attack_above_the_ceiling_fails_the_claim_and_one_below_does_not() -> None:
    (strong,) = membership_findings(attack_with(1.5), claim(1), site="aster", delta=DELTA)
    assert strong.verdict == "fail"
    assert strong.figures["auc_ceiling"] == pytest.approx(0.575, abs=5e-4)
    assert "epsilon 1.00 at delta 1e-05" in strong.claim
    (same,) = membership_findings(attack_with(1.5), claim(8), site="aster", delta=DELTA)
    (weak,) = membership_findings(attack_with(0.2), claim(1), site="aster", delta=DELTA)
    assert same.verdict == weak.verdict == "pass"


def test_few_members_who_stand_out_fail_the_claim_by_their_rate() -> None:
    run = attack_with(0.0)
    scores = run.scores["LiRA"] + np.where(np.arange(400) < 60, 10.0, 0.0)
    outliers = AttackRun(scores={"LiRA": scores}, is_member=run.is_member, n_references=16)
    (finding,) = membership_findings(outliers, claim(3), site="aster", delta=DELTA)
    assert float(finding.figures["auc_low"] or 0) < float(finding.figures["auc_ceiling"] or 0)
    assert finding.verdict == "fail"


def test_attacks_share_the_chance_that_a_true_claim_fails() -> None:
    run = attack_with(0.2)
    scores = dict.fromkeys(("one", "two", "three"), run.scores["LiRA"])
    three = AttackRun(scores=scores, is_member=run.is_member, n_references=16)
    for found, each in ((run, 0.95), (three, 1 - 0.05 / 3)):
        expected = attack_measures(run.scores["LiRA"], run.is_member, confidence=each)
        for finding in membership_findings(found, claim(1), site="aster", delta=DELTA):
            assert finding.figures["auc_low"] == pytest.approx(expected.auc_low)
            assert finding.figures["true_rate_low"] == pytest.approx(expected.true_rate_low)


def test_without_a_claim_nothing_is_called_examined() -> None:
    (finding,) = membership_findings(attack_with(1.5), [], site="aster", delta=DELTA)
    assert finding.verdict == "not-run"
    assert "no formal privacy guarantee" in finding.because


# --- references are trained as a run is


def test_references_are_averaged_over_sites_and_over_the_last_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = attacked_plan(2, {"aster": 10, "birch": 30}, epsilon=None, rounds=4)
    calls: list[tuple[int, int]] = []

    def answer(
        _: GradientSum, vector: Vector, batch: PatientBatch, *, declared_patients: int, **__: object
    ) -> Vector:
        calls.append((len(batch), declared_patients))
        return np.full_like(vector, declared_patients)

    monkeypatch.setattr(GradientSum, "answer", answer)
    sites = [
        AuditedSite(site=site, pool=random_patients(n, 2, seed=n), is_member=np.ones(n, bool))
        for site, n in (("aster", 10), ("birch", 20))
    ]
    chosen = [np.arange(10) < 4, np.arange(20) < 5]
    weights = train_release(plan, trained(plan), sites, chosen)
    # a round adds 1/4·10 + 3/4·30 = 25; the release is the mean after rounds 3 and 4
    start = GradientSum(plan, trained(plan), None).start().vector
    np.testing.assert_allclose(weights - start, 3.5 * 25, rtol=1e-6)
    assert calls == [(4, 10), (5, 30)] * 4


def test_every_patient_is_in_half_of_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = random_patients(21, 2, seed=0)
    plan = attacked_plan(2, {"aster": 10}, epsilon=None)
    site = AuditedSite(site="aster", pool=pool, is_member=np.arange(21) < 10)
    seen: list[NDArray[np.bool_]] = []

    def train(
        _: Plan,
        __: GradientStage,
        sites: list[AuditedSite],
        chosen: list[NDArray[np.bool_]],
        ___: Path | None,
    ) -> object:
        seen.append(chosen[0])
        return np.zeros(3, dtype=np.float32)

    monkeypatch.setattr(membership, "train_release", train)
    attack_run(plan, trained(plan), [site], np.zeros(3, np.float32), seed=1)
    assert len(seen) == 16
    assert set(np.sum(seen, axis=0)) == {8}
    assert len({mask.tobytes() for mask in seen}) == 16


def test_the_signal_of_a_class_is_the_logit_of_the_labelled_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = attacked_plan(2, {"aster": 2}, epsilon=None)
    task = ClassificationTask(endpoint="osteoporosis", positive_class="osteoporosis")
    settings = plan.settings.model_copy(update={"task": task})
    plan = plan.model_copy(update={"settings": settings})
    endpoint = np.array([0.9, 0.9, 0.2, 0.3])
    labels = np.array([2.0, 0.0, 1.0, 2.0])  # osteoporosis is class 2
    outputs = np.stack([1 - endpoint, np.zeros(4), endpoint], axis=1)
    # the last patient comes again, in another class: the earliest exam is the one attacked
    scored = Scored(np.vstack([outputs, [[0.1, 0.1, 0.8]]]), np.append(labels, 0.0), np.zeros((5, 0)))
    exams = exams_of(scored, np.array([0, 1, 2, 3, 3]))
    monkeypatch.setattr(GradientScorer, "score", lambda *_: exams)
    monkeypatch.setattr(membership, "train_release", lambda *_: None)
    kept: list[NDArray[np.float64]] = []
    monkeypatch.setattr(membership, "lira_scores", lambda target, *_: kept.append(target) or target)
    pool = random_patients(4, 2, seed=0)
    site = AuditedSite(site="aster", pool=pool, is_member=np.arange(4) < 2)
    attack_run(plan, trained(plan), [site], np.zeros(5, np.float32), seed=1)
    np.testing.assert_allclose(kept[0], [logit(0.9), -logit(0.9), -logit(0.2), logit(0.3)])


def test_the_signal_of_a_number_is_its_error_in_sds_of_the_target() -> None:
    plan = attacked_plan(2, {"aster": 2}, epsilon=None)
    unit = plan.settings.task.target_sd
    scored = Scored(np.array([[0.7], [0.4], [0.9]]), np.array([0.6, 0.6, 0.0]), np.zeros((3, 0)))
    scorer = SimpleNamespace(score=lambda *_: exams_of(scored, np.array([0, 1, 1])))
    pool = random_patients(2, 2, seed=0)
    site = AuditedSite(site="aster", pool=pool, is_member=np.array([True, False]))
    found = membership._signals(plan.settings, [site, site], np.zeros(1), scorer)
    np.testing.assert_allclose(found, [-0.1 / unit, -0.2 / unit] * 2)


def test_what_cannot_be_attacked_is_refused() -> None:
    plan = attacked_plan(2, {"aster": 3}, epsilon=None)
    pool = random_patients(6, 2, seed=0)
    site = AuditedSite(site="aster", pool=pool, is_member=np.arange(6) < 3)
    weights = GradientSum(plan, trained(plan), None).start().vector
    for n_references in (14, 17):
        with pytest.raises(AuditError, match="must be even and at least 16"):
            attack_run(plan, trained(plan), [site], weights, n_references=n_references, seed=0)
    pool.exam_mask[0] = False
    with pytest.raises(AuditError, match="labelled exam"):
        attack_run(plan, trained(plan), [site], weights, seed=0)


# --- real training


def attacked_release(epsilon: float | None) -> AttackRun:
    """All attacks on a release trained on 60 of 120 patients whose labels are noise."""
    plan = attacked_plan(N_CHANNELS, {"aster": N_MEMBERS}, epsilon=epsilon)
    stage = trained(plan)
    is_member = np.random.default_rng(0).permutation(2 * N_MEMBERS) < N_MEMBERS
    pool = random_patients(2 * N_MEMBERS, N_CHANNELS, seed=0)
    site = AuditedSite(site="aster", pool=pool, is_member=is_member)
    return attack_run(plan, stage, [site], train_release(plan, stage, [site], [is_member]), seed=0)


def test_a_model_that_learned_patients_by_heart_is_caught() -> None:
    run = attacked_release(None)
    for attack in ("LiRA", "RMIA"):
        assert attack_measures(run.scores[attack], run.is_member).auc > 0.8
    found = membership_findings(run, claim(1), site="aster", delta=DELTA)
    assert [finding.verdict for finding in found] == ["fail"] * 3


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_the_same_patients_trained_with_privacy_stay_below_the_ceiling(
    epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # noise from a seed, so that this is one draw for ever
    draw = torch.Generator().manual_seed(4)
    seeded = functools.partial(torch.randn, generator=draw, dtype=torch.float64)
    monkeypatch.setattr("shared.stages.in_memory.NoiseStream", lambda: seeded)
    found = membership_findings(attacked_release(epsilon), claim(epsilon), site="aster", delta=DELTA)
    assert [finding.verdict for finding in found] == ["pass"] * 3
