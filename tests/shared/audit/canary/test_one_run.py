"""Lower bounds on ε from one run: published values, values by hand, and mechanisms of known ε."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, ttest_ind

from shared.audit.canary.one_run import (
    bounds_of_guesses,
    canary_findings,
    gaussian_bound,
    one_run_bounds,
    refutes_gaussian,
    register_scores,
    steinke_p_value,
)
from shared.errors import AuditError
from shared.privacy.accountant import gaussian_epsilon, gaussian_mu
from shared.privacy.register_format import RegisterRecord

DELTA = 1e-5
N_CANARIES = 1000
SEEDS = range(20)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def gaussian_canaries(
    epsilon: float, *, noise: float, seed: int, n: int = N_CANARIES
) -> tuple[Floats, Bools]:
    """Scores and coins of a Gaussian mechanism with ``noise`` times the noise of its ``epsilon``."""
    draw = np.random.default_rng([seed, round(10 * epsilon)])
    coins = draw.random(n) < 0.5
    return gaussian_mu(epsilon, DELTA) * coins + noise * draw.standard_normal(n), coins


def refutes(mu: float, correct: int, guessed: int, *, n_tested: int, level: float) -> bool:
    answer = refutes_gaussian(
        np.array([mu]), np.array([correct]), np.array([guessed]), n_tested=n_tested, level=level
    )
    return bool(answer[0])


# --- the bound of Steinke, Nasr and Jagielski


@pytest.mark.parametrize(
    ("n_tested", "n_guessed", "n_correct", "delta", "published"),
    [
        (1000, 100, 75, 1e-4, 0.673),  # arXiv 2305.08846, appendix D
        (100_000, 1510, 1439, 1e-5, 2.675),  # the same, section 7
    ],
)
def test_bound_equals_the_values_its_authors_print(
    n_tested: int, n_guessed: int, n_correct: int, delta: float, published: float
) -> None:
    found = bounds_of_guesses(n_correct, n_guessed, n_tested=n_tested, delta=delta, confidence=0.95)
    assert found.epsilon_steinke == pytest.approx(published, abs=1e-3)  # one is printed truncated


def test_delta_adds_what_the_theorem_says() -> None:
    # one guess, ε = ln 3: f(1) = 3/4 and (f(0) − f(1))/1 = 1/4; 2·10·0.01 failures are expected
    p_value = steinke_p_value(1, 1, 10, epsilon=math.log(3), delta=0.01)
    assert p_value == pytest.approx(0.75 + 0.2 * 0.25)
    # two guesses: f(2) = 9/16; max((f(1) − f(2))/1, (f(0) − f(2))/2) = max(6/16, 7/32)
    p_value = steinke_p_value(2, 2, 10, epsilon=math.log(3), delta=0.01)
    assert p_value == pytest.approx(9 / 16 + 0.2 * 6 / 16)


def test_a_mechanism_that_tells_all_with_chance_delta_stays_within_its_delta() -> None:
    # (0, δ)-DP: it publishes every coin with chance δ, so all m guesses are right with at least that
    for m in (10, 300):
        assert steinke_p_value(m, m, m, epsilon=0.0, delta=0.01) >= 0.01


# --- the f-DP bound


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_one_guess_about_one_coin_is_right_with_the_chance_of_the_best_test(mu: float) -> None:
    # N(0,1) against N(μ,1) with equal priors: at most Φ(μ/2), and no less
    best = float(ndtr(mu / 2))
    assert refutes(mu, 1, 1, n_tested=1, level=best + 1e-9)
    assert not refutes(mu, 1, 1, n_tested=1, level=best - 1e-9)


@pytest.mark.parametrize("n", [2, 20, 300])
@pytest.mark.parametrize("mu", [0.3, 1.5])
def test_independent_gaussian_coins_never_refute_their_own_mu(n: int, mu: float) -> None:
    # guessing each coin by its own noised value is right Binomial(n, Φ(μ/2)) times
    for correct in range(1, n + 1):
        chance = float(binom.sf(correct - 1, n, ndtr(mu / 2)))
        if chance > 1e-12:
            assert not refutes(mu, correct, n, n_tested=n, level=chance * (1 - 1e-9))


def test_abstaining_from_doubtful_coins_never_refutes_their_own_mu() -> None:
    # of n noised coins only the one furthest from the middle is guessed; its chance by integration
    mu, n = 1.5, 8
    grid = np.linspace(-12, 12, 400_001)
    density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    distance = np.abs(grid + mu / 2)  # of a right coin's value from the middle, right side positive
    within = ndtr(distance - mu / 2) - ndtr(-distance - mu / 2)  # another coin lies closer
    chance = float(n * np.sum(density * within ** (n - 1) * (grid + mu / 2 > 0)))
    assert 0.9 < chance < 1
    assert not refutes(mu, 1, 1, n_tested=n, level=chance - 1e-6)
    assert refutes(0.8 * mu, 1, 1, n_tested=n, level=chance)


def test_bounds_with_every_guess_right_reach_as_far_as_published() -> None:
    reach = bounds_of_guesses(1000, 1000, n_tested=1000, delta=DELTA, confidence=0.95)
    assert reach.epsilon_steinke == pytest.approx(5.78, abs=0.01)
    reach = bounds_of_guesses(2000, 2000, n_tested=2000, delta=DELTA, confidence=0.95)
    assert reach.epsilon_fdp == pytest.approx(13.5, abs=0.1)
    assert reach.epsilon_fdp == pytest.approx(gaussian_epsilon(reach.mu_fdp, DELTA))


def test_no_guess_and_no_right_guess_prove_nothing() -> None:
    for correct, guessed in ((0, 0), (0, 20), (10, 20)):
        found = bounds_of_guesses(correct, guessed, n_tested=40, delta=DELTA, confidence=0.95)
        assert found.epsilon_steinke == pytest.approx(0, abs=1e-6)
        assert found.epsilon_fdp == pytest.approx(0, abs=1e-6)


# --- whole runs of known ε


@pytest.mark.parametrize(
    ("epsilon", "least_steinke", "least_fdp"), [(1, 0.0, 0.0), (3, 0.6, 1.0), (8, 2.1, 3.5)]
)
def test_a_correct_mechanism_stays_below_its_epsilon(
    epsilon: float, least_steinke: float, least_fdp: float
) -> None:
    steinke, fdp = [], []
    for seed in SEEDS:
        found = one_run_bounds(*gaussian_canaries(epsilon, noise=1, seed=seed), delta=DELTA)
        steinke.append(found.epsilon_steinke)
        fdp.append(found.epsilon_fdp)
    # 5 % of the runs may exceed it; hundreds of simulated ones did in 0 to 0.5 %
    assert sum(value > epsilon for value in steinke) <= 1
    assert sum(value > epsilon for value in fdp) <= 1
    assert np.median(steinke) >= least_steinke
    assert np.median(fdp) >= least_fdp


@pytest.mark.parametrize(
    ("epsilon", "noise"), [(1, 0.1), (1, 0.0), (3, 0.1), (3, 0.0), (8, 0.1), (8, 0.0)]
)
def test_a_mechanism_with_a_tenth_of_its_noise_or_none_is_refuted(epsilon: float, noise: float) -> None:
    for seed in range(3):
        found = one_run_bounds(*gaussian_canaries(epsilon, noise=noise, seed=seed), delta=DELTA)
        assert found.epsilon_fdp > epsilon


def test_half_noise_is_mostly_refuted_at_epsilon_3() -> None:
    runs = [gaussian_canaries(3, noise=0.5, seed=seed) for seed in range(10)]
    assert sum(one_run_bounds(*run, delta=DELTA).epsilon_fdp > 3 for run in runs) >= 7


def test_steinke_alone_cannot_refute_epsilon_8_with_a_thousand_canaries() -> None:
    found = one_run_bounds(*gaussian_canaries(8, noise=0, seed=0), delta=DELTA)
    assert found.epsilon_steinke < 8 < found.epsilon_fdp


def test_only_the_half_that_did_not_choose_is_tested() -> None:
    draw = np.random.default_rng(5)
    order = np.random.default_rng(0).permutation(N_CANARIES)
    choosing, tested = order[: N_CANARIES // 2], order[N_CANARIES // 2 :]
    for informative, is_refuted in ((choosing, False), (tested, True)):
        coins = draw.random(N_CANARIES) < 0.5
        scores = draw.standard_normal(N_CANARIES)
        scores[informative] += 20 * coins[informative]
        found = one_run_bounds(scores, coins, delta=DELTA)
        assert found.n_tested == N_CANARIES // 2
        assert (found.epsilon_fdp > 1) is is_refuted


def test_low_scores_for_those_who_took_part_prove_nothing() -> None:
    scores, coins = gaussian_canaries(8, noise=0.1, seed=1)
    assert one_run_bounds(-scores, coins, delta=DELTA).epsilon_fdp == pytest.approx(0, abs=1e-6)


def test_more_confidence_means_a_lower_bound() -> None:
    loose, strict = (
        bounds_of_guesses(90, 100, n_tested=500, delta=DELTA, confidence=confidence)
        for confidence in (0.95, 0.99)
    )
    assert strict.epsilon_steinke < loose.epsilon_steinke - 0.1
    assert strict.epsilon_fdp < loose.epsilon_fdp - 0.1


# --- the bound for Gaussian noise alone


@pytest.mark.parametrize("epsilon", [3, 8])
def test_the_gaussian_bound_exceeds_the_truth_as_often_as_it_says_and_is_closer(epsilon: float) -> None:
    runs = [gaussian_canaries(epsilon, noise=1, seed=seed) for seed in range(200)]
    bounds = np.array([gaussian_bound(*run, delta=DELTA) for run in runs])
    # 200 runs at 95 %: 10 ± 3.1; between 1 and 22 but for one time in 2,000
    assert 1 <= (bounds > epsilon).sum() <= 22
    both = [one_run_bounds(*run, delta=DELTA) for run in runs[:5]]
    assert np.median(bounds[:5]) > np.median([found.epsilon_fdp for found in both])


def test_the_gaussian_bound_is_the_t_of_two_samples() -> None:
    # at a confidence of 1/2 and μ = 0 the median: means are equal exactly where the bound leaves 0
    scores, coins = np.array([1.0, 3.0, 1.0, 3.0]), np.array([True, True, False, False])
    assert gaussian_bound(scores, coins, delta=DELTA, confidence=0.5) == pytest.approx(0, abs=1e-4)
    draw = np.random.default_rng(2)
    scores, coins = draw.standard_normal(40), np.arange(40) < 15
    t = ttest_ind(scores[coins] + 1.0, scores[~coins])
    scores[coins] += 1.0
    # whether μ = 0 is refuted is the one-sided t-test
    for confidence, is_refuted in ((1 - t.pvalue / 2 - 1e-4, True), (1 - t.pvalue / 2 + 1e-4, False)):
        bound = gaussian_bound(scores, coins, delta=DELTA, confidence=confidence)
        assert bound is not None
        assert (bound > 1e-3) is is_refuted


def test_the_gaussian_bound_does_not_hold_for_rounded_scores_and_the_other_two_do() -> None:
    runs = [gaussian_canaries(8, noise=1, seed=seed) for seed in range(200)]
    rounded = [(np.tanh(3 * (scores - gaussian_mu(8, DELTA) / 2)), coins) for scores, coins in runs]
    exceeding = sum((gaussian_bound(*run, delta=DELTA) or 0) > 8 for run in rounded)
    assert exceeding > 17, "as often only one time in 90 were it right at 95 %"
    for run in rounded[:5]:
        found = one_run_bounds(*run, delta=DELTA)
        assert max(found.epsilon_steinke, found.epsilon_fdp) < 8


def test_the_gaussian_bound_of_no_noise_is_the_largest_and_of_one_side_none() -> None:
    coins = np.arange(10) < 5
    assert (gaussian_bound(coins.astype(float), coins, delta=DELTA) or 0) > 40
    assert gaussian_bound(-coins.astype(float), coins, delta=DELTA) == pytest.approx(0, abs=1e-6)
    assert gaussian_bound(np.arange(10.0), np.ones(10, dtype=bool), delta=DELTA) is None


def test_the_gaussian_bound_is_told_of_full_batches_and_is_no_part_of_the_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [finding] = findings(record(noise_multiplier=4.24), 4.7)
    assert 2 < float(finding.figures["epsilon_gaussian"] or 0) < 5.5
    monkeypatch.setattr("shared.audit.canary.one_run.gaussian_bound", lambda *_, **__: 64.0)
    assert findings(record(noise_multiplier=4.24), 4.7)[0].verdict == "pass"
    [sampled] = canary_findings(
        record(noise_multiplier=4.24, sample_rate=0.5),
        claimed_epsilon=4.7,
        delta=DELTA,
        clip_norm=0.5,
        noise_multiplier=4.24,
        sample_rate=0.5,
    )
    assert sampled.figures["epsilon_gaussian"] is None


# --- a site's record


def record(
    *,
    noise_multiplier: float,
    seed: int = 0,
    steps: int = 20,
    sample_rate: float = 1.0,
    written: float = 1.0,
    clip_norm: float = 0.5,
) -> RegisterRecord:
    """A register as a site writes it: −clip_norm · ``written`` in every step a canary is drawn for."""
    draw = np.random.default_rng(seed)
    coins = draw.random(N_CANARIES) < 0.5
    drawn = draw.random((steps, N_CANARIES)) < sample_rate
    noise = noise_multiplier * draw.standard_normal((steps, N_CANARIES))
    return RegisterRecord(
        site="aster",
        plan_sha256="0" * 64,
        salt=b"salt",
        coins=coins,
        sums=clip_norm * (noise - written * (drawn & coins)),
        rounds=np.arange(steps) // 5,
        places=np.tile(np.arange(N_CANARIES), (steps, 1)),
        length=N_CANARIES,
    )


def findings(kept: RegisterRecord, claimed_epsilon: float, noise_multiplier: float = 4.24):  # type: ignore[no-untyped-def]
    return canary_findings(
        kept,
        claimed_epsilon=claimed_epsilon,
        delta=DELTA,
        clip_norm=0.5,
        noise_multiplier=noise_multiplier,
        sample_rate=1.0,
    )


def test_scores_are_contributions_over_those_expected() -> None:
    kept = record(noise_multiplier=0)
    scores = register_scores(kept, clip_norm=0.5, sample_rate=1.0)
    np.testing.assert_allclose(scores, kept.coins.astype(float))
    sampled = record(noise_multiplier=0, steps=400, sample_rate=0.25)
    scores = register_scores(sampled, clip_norm=0.5, sample_rate=0.25)
    assert scores[sampled.coins].mean() == pytest.approx(1, abs=0.02)
    assert not scores[~sampled.coins].any()


@pytest.mark.parametrize(
    "damage",
    [
        {"sums": np.full((20, N_CANARIES), np.nan)},
        {"sums": np.zeros((0, N_CANARIES)), "rounds": np.zeros(0, dtype=np.int64)},
        {"sums": np.zeros((20, 1)), "coins": np.ones(1, dtype=bool)},
    ],
)
def test_a_register_with_nothing_to_read_is_refused(damage: dict[str, NDArray[np.generic]]) -> None:
    whole = record(noise_multiplier=1)
    broken = RegisterRecord(**(vars(whole) | damage))
    with pytest.raises(AuditError, match="at least one step"):
        register_scores(broken, clip_norm=0.5, sample_rate=1.0)


def test_a_correct_record_passes_and_shows_its_noise() -> None:
    # 20 steps at noise multiplier 4.24: μ = 1.055, ε = 4.7
    for seed in range(5):
        (finding,) = findings(record(noise_multiplier=4.24, seed=seed), 4.7)
        assert finding.verdict == "pass"
        assert finding.site == "aster"
        assert finding.figures["noise_multiplier_found"] == pytest.approx(4.24, rel=0.03)
        assert finding.figures["contribution_in"] == pytest.approx(1, abs=0.2)
        assert finding.figures["contribution_out"] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(
    "fault", [{"noise_multiplier": 0.0}, {"noise_multiplier": 4.24, "written": 10.0}]
)
def test_no_noise_and_no_clipping_fail(fault: dict[str, float]) -> None:
    (finding,) = findings(record(**fault), 4.7)  # type: ignore[arg-type]
    assert finding.verdict == "fail"
    assert float(finding.figures["epsilon_fdp"] or 0) > 4.7
    assert "above the claimed 4.70" in finding.because


def test_a_claim_beyond_the_reach_of_its_canaries_is_not_called_examined() -> None:
    (finding,) = findings(record(noise_multiplier=0.0), 12.0)
    assert finding.verdict == "not-run"
    assert float(finding.figures["epsilon_reach"] or 0) < 12


def test_the_two_bounds_share_the_chance_of_a_false_alarm() -> None:
    kept = record(noise_multiplier=1.0, seed=3)
    (finding,) = findings(kept, 4.7)
    scores = register_scores(kept, clip_norm=0.5, sample_rate=1.0)
    each = one_run_bounds(scores, kept.coins, delta=DELTA, confidence=0.995)
    assert finding.figures["epsilon_fdp"] == each.epsilon_fdp
    assert finding.figures["epsilon_steinke"] == each.epsilon_steinke
