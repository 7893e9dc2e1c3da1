"""LiRA beside a second implementation of it, written from the paper's text and not from ours.

Carlini et al. 2022 (arXiv 2112.03570), algorithm 1: fit N(μ_in, σ²_in) and N(μ_out, σ²_out) to the
signals of a patient's shadow models, and answer p(signal | in)/p(signal | out); offline (eq. 4):
1 − P(Z > signal), Z ~ N(μ_out, σ²_out). "Global variance" (section VI-A): one σ of each side for all.
It is looped over patients and models, with densities of ``scipy.stats``; curves are scikit-learn's.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr
from sklearn.metrics import roc_auc_score, roc_curve

from shared.audit.attack.membership import attack_measures
from shared.audit.attack.scores import lira_offline_scores, lira_scores

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def shadow_signals(
    seed: int, *, r: int = 64, n: int = 400, shift: float = 0.8
) -> tuple[Floats, Floats, Bools, Bools]:
    """Target [n], references [r,n], was_in [r,n], is_member [n]: patients of unequal difficulty."""
    draw = np.random.default_rng(seed)
    difficulty, own_shift = 3.0 * draw.standard_normal(n), shift * draw.gamma(2.0, 0.5, n)
    was_in, is_member = draw.random((r, n)) < 0.5, draw.random(n) < 0.5
    references = difficulty + own_shift * was_in + draw.standard_normal((r, n)) * (1 + 0.3 * was_in)
    target = difficulty + own_shift * is_member + draw.standard_normal(n) * (1 + 0.3 * is_member)
    return target, references, was_in, is_member


def of_a_patient(patient: int, references: Floats, was_in: Bools) -> tuple[list[float], list[float]]:
    """Signals of the models with, and of those without, a patient."""
    sides: tuple[list[float], list[float]] = ([], [])
    for model in range(references.shape[0]):
        sides[0 if was_in[model, patient] else 1].append(float(references[model, patient]))
    return sides


def pooled_sd(sides: list[list[float]]) -> float:
    """One standard deviation for all patients, around each one's mean, unbiased."""
    residuals = [value - sum(side) / len(side) for side in sides for value in side]
    return float(np.sqrt(sum(value**2 for value in residuals) / (len(residuals) - len(sides))))


def oracle(target: Floats, references: Floats, was_in: Bools, *, own_sd: bool) -> tuple[Floats, Floats]:
    """Λ of algorithm 1, in logarithms, and the offline score of equation 4, as a chance; [n] each."""
    every = [of_a_patient(patient, references, was_in) for patient in range(target.size)]
    sd_in, sd_out = (pooled_sd([sides[k] for sides in every]) for k in (0, 1))
    online, offline = [], []
    for signal, (with_it, without_it) in zip(target, every, strict=True):
        if own_sd:
            sd_in, sd_out = float(np.std(with_it, ddof=1)), float(np.std(without_it, ddof=1))
        inside, outside = norm(np.mean(with_it), sd_in), norm(np.mean(without_it), sd_out)
        online.append(inside.logpdf(signal) - outside.logpdf(signal))
        offline.append(1 - outside.sf(signal))
    return np.array(online), np.array(offline)


def rates(scores: Floats, is_member: Bools) -> tuple[float, float]:
    """AUC, and TPR at an FPR of at most .01, as scikit-learn has them."""
    fpr, tpr, _ = roc_curve(is_member, scores, drop_intermediate=False)
    return float(roc_auc_score(is_member, scores)), float(tpr[fpr <= 0.01].max())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("r", [16, 64])
def test_scores_are_those_of_a_second_implementation(seed: int, r: int) -> None:
    target, references, was_in, _ = shadow_signals(seed, r=r)
    online, offline = oracle(target, references, was_in, own_sd=False)
    np.testing.assert_allclose(lira_scores(target, references, was_in), online, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        norm.cdf(lira_offline_scores(target, references, was_in)), offline, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_a_report_says_of_them_is_what_scikit_learn_says(seed: int) -> None:
    target, references, was_in, is_member = shadow_signals(seed)
    theirs = oracle(target, references, was_in, own_sd=False)
    ours = lira_scores(target, references, was_in), lira_offline_scores(target, references, was_in)
    for mine, other in zip(ours, theirs, strict=True):
        found = attack_measures(mine, is_member, confidence=0.95)
        auc, tpr = rates(other, is_member)
        assert found.auc == pytest.approx(auc, abs=1e-9)
        assert found.true_rate == pytest.approx(tpr, abs=1e-9)
        assert auc > 0.55, "an attack that finds nobody compares nothing"


def test_a_variance_of_each_patient_finds_the_same_patients() -> None:
    # the paper's own choice from 64 shadow models on; ours is its other one
    target, references, was_in, is_member = shadow_signals(7, r=256)
    each, _ = oracle(target, references, was_in, own_sd=True)
    shared = lira_scores(target, references, was_in)
    assert spearmanr(each, shared).statistic > 0.95
    assert rates(shared, is_member)[0] == pytest.approx(rates(each, is_member)[0], abs=0.02)


def test_scores_are_those_of_tensorflow_privacy() -> None:
    """Its variances divide by the number of signals, n·r/2; ours by that less n means, so by 3 of 4.

    Birth certificate: ``compute_score_lira`` of tensorflow/privacy at 03035d5d (Apache-2.0),
    ``option="both", fix_variance=True, median_or_mean="mean"``, sign turned, run on 2026-11-27 with
    numpy 2.4.6 and scipy 1.17.1 on the signals below.
    """
    theirs = [1.5249055677, 0.7266161853, -0.920005593, -2.1487030984, -0.6372196746, 1.5569340571]
    model, patient = np.arange(8)[:, None], np.arange(6)
    was_in = (model + patient) % 2 == 0
    references = np.sin(1.7 * model + 2.3 * patient) + 0.4 * patient + 0.9 * was_in
    target = np.cos(1.1 * patient) + 0.4 * patient + 0.5
    sds = [
        np.sqrt(np.mean([np.var(references[side[:, k], k], ddof=1) for k in patient]))
        for side in (was_in, ~was_in)
    ]
    # ratio/2 + log(sd_out/sd_in), of which the ratio alone is divided by the variance
    width = float(np.log(sds[1] / sds[0]))
    expected = 0.75 * (np.array(theirs) - width) + width
    np.testing.assert_allclose(lira_scores(target, references, was_in), expected, atol=1e-9)
