"""What one run's canaries prove about ε: two lower bounds, the verdict on a claim, and a closer figure.

Half of the canaries, split by a public seed, choose how many of the highest scores are guessed "in"
and as many of the lowest "out"; the other half is tested, so that choosing costs nothing. Both bounds
hold for any scores and any dependence between them. A third one is closer and holds for Gaussian noise
alone, so it refutes nothing. Imports the accountant, the register and findings.

Source: Steinke, Nasr, Jagielski 2023 (arXiv 2305.08846), Cor. 5.4 with δ; Mahloujifar, Melis, Chaudhuri
2024 (arXiv 2410.22235), their recursion with abstention, two answers per guess. That scores say more
than guesses: Agrawal et al. 2026 (arXiv 2606.12733); of their asymptotic pair of Gaussians one variance
is kept, and Student's t of two samples takes the place of the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom, nct

from shared.audit.finding import Finding
from shared.errors import AuditError
from shared.privacy.accountant import gaussian_epsilon
from shared.privacy.register_format import RegisterRecord

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Bools = NDArray[np.bool_]

# How many to guess on each side, as shares of the most that can all be right in nearly every run.
_GUESSED_SHARES = (0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.8, 1.0)
# Far above what any number of canaries can prove (2.7 with 4000 right guesses of 4000).
_MAXIMUM_MU, _MAXIMUM_EPSILON = 8.0, 64.0
_BLIND_TO = (
    "What happens before the clip (a wrong gradient, one patient counted as two), and a dishonest site "
    "that treats canaries better than patients. The f-DP bound becomes an epsilon within the Gaussian "
    "family, which for sampled batches says less than could be said. epsilon_gaussian is closer, holds "
    "for Gaussian noise alone, and is no part of the verdict."
)


@dataclass(frozen=True, kw_only=True)
class OneRunBounds:
    """Lower bounds on ε, each at the confidence asked for, and the guesses they rest on.

    ``mu_fdp``: every Gaussian trade-off function G_μ with a smaller μ is refuted.
    """

    epsilon_steinke: float
    epsilon_fdp: float
    mu_fdp: float
    n_tested: int
    n_guessed: int
    n_correct: int


def one_run_bounds(
    scores: Floats, coins: Bools, *, delta: float, confidence: float = 0.95, split_seed: int = 0
) -> OneRunBounds:
    """Lower bounds on the ε at ``delta`` of whatever turned coins into scores.

    Args:
        scores: one per canary, finite, higher means "in"; two canaries or more.
        coins: independent fair coins, True = the canary took part.
        delta: in (0, 1).
        confidence: each bound exceeds the truth in at most 1 − confidence of all runs.
        split_seed: public; draws the half that is tested.

    Shapes: scores [m], coins [m].
    """
    order = np.random.default_rng(split_seed).permutation(scores.size)
    choosing, tested = np.split(order, [scores.size // 2])
    per_side = _choose_guesses(scores[choosing], coins[choosing], level=1 - confidence)
    n_correct = int(_correct_guesses(scores[tested], coins[tested], per_side)[0])
    n_guessed = 2 * int(per_side[0])
    return bounds_of_guesses(
        n_correct, n_guessed, n_tested=tested.size, delta=delta, confidence=confidence
    )


def bounds_of_guesses(
    n_correct: int, n_guessed: int, *, n_tested: int, delta: float, confidence: float
) -> OneRunBounds:
    """The bounds when ``n_correct`` of ``n_guessed`` guesses about ``n_tested`` coins were right."""
    level = 1 - confidence
    correct, guessed = np.array([n_correct]), np.array([n_guessed])
    mu = float(_largest_refuted_mu(correct, guessed, n_tested, level=level, halvings=24)[0])
    return OneRunBounds(
        epsilon_steinke=_steinke_epsilon(n_correct, n_guessed, n_tested, delta=delta, level=level),
        epsilon_fdp=gaussian_epsilon(mu, delta),
        mu_fdp=mu,
        n_tested=n_tested,
        n_guessed=n_guessed,
        n_correct=n_correct,
    )


def gaussian_bound(
    scores: Floats, coins: Bools, *, delta: float, confidence: float = 0.95
) -> float | None:
    """Lower bound on ε where scores are independent Gaussians of one variance, as full batches promise.

    The difference of both means over the pooled SD is then a noncentral t of noncentrality
    μ / √(1/n_in + 1/n_out), so that the bound is exact. Of other scores it says nothing: with rounded
    ones it exceeds a μ of 1.67 in 11 % of runs at a confidence of .95.

    Args:
        scores, coins, delta, confidence: as of ``one_run_bounds``.

    Returns:
        None where all took part, nobody did, or too few are left for a variance.
    """
    taken, left = scores[coins], scores[~coins]
    freedom = scores.size - 2
    if not taken.size or not left.size or freedom < 1:
        return None
    squares = taken.size * float(taken.var()) + left.size * float(left.var())
    width = math.sqrt(1 / taken.size + 1 / left.size)
    shift = float(taken.mean() - left.mean())
    if squares == 0.0:  # no noise at all
        return gaussian_epsilon(_MAXIMUM_MU if shift > 0 else 0.0, delta)
    t = shift / math.sqrt(squares / freedom) / width
    low, high = 0.0, _MAXIMUM_MU
    for _ in range(24):
        middle = (low + high) / 2
        is_refuted = nct.sf(t, freedom, middle / width) < 1 - confidence
        low, high = (middle, high) if is_refuted else (low, middle)
    return gaussian_epsilon(low, delta)


def steinke_p_value(
    n_correct: int, n_guessed: int, n_tested: int, *, epsilon: float, delta: float
) -> float:
    """Largest chance of at least v = ``n_correct`` right guesses under (``epsilon``, ``delta``)-DP.

    Right guesses are at most a Binomial(n_guessed, 1/(1 + e^−ε)) plus failures of which 2·n_tested·δ
    are expected: f(v) + 2·n_tested·δ·max_i (f(v − i) − f(v))/i, f the binomial's tail.
    """
    shares = binom(n_guessed, expit(epsilon))
    tail = float(shares.sf(n_correct - 1))
    i = np.arange(1, n_correct + 1)
    gained = np.cumsum(shares.pmf(n_correct - i)) / i
    return min(1.0, tail + 2 * n_tested * delta * float(gained.max(initial=0.0)))


def refutes_gaussian(
    mu: Floats, correct: Counts, guessed: Counts, *, n_tested: int, level: float
) -> Bools:
    """Whether under μ-GDP ``correct`` or more of ``guessed`` guesses are right with chance < ``level``.

    p_j is the chance of exactly j right guesses of g about m coins. Flipping a coin turns a right guess
    into a wrong one; averaged over coins, and as Φ(Φ⁻¹(x) + μ) is concave, this gives for every i
        right_i ≤ Φ(Φ⁻¹(wrong_{i−1}) + μ),  right_i = Σ_{j≥i} j·p_j/m,  wrong_i = Σ_{j≥i} (g − j)·p_j/m.
    Were the chance ``level`` or more, the least right_1 that these allow is reached with all of it on
    exactly ``correct``, followed down to 1; then wrong_0 = g/m − right_1 must still be large enough.

    Shapes: mu, correct, guessed [k] -> [k].
    """
    right = level * correct / n_tested
    wrong = level * (guessed - correct) / n_tested
    total = guessed / n_tested
    place = correct.astype(np.float64)
    for _ in range(int(correct.max(initial=0)) - 1):
        is_open = (place > 1) & (right <= total)
        if not is_open.any():
            break
        wrong_below = np.maximum(wrong, _least_wrong(right, mu))
        more = (place - 1) / (guessed - place + 1) * (wrong_below - wrong)  # right share of that mass
        right = np.where(is_open, right + more, right)
        wrong = np.where(is_open, wrong_below, wrong)
        place = np.where(is_open, place - 1, place)
    refuted: Bools = right + _least_wrong(right, mu) > total
    return refuted


def register_scores(record: RegisterRecord, *, clip_norm: float, sample_rate: float) -> Floats:
    """Contributions found over those expected, [m]: about 1 for a canary that took part, else about 0.

    A canary writes −clip_norm into every step it is drawn for.

    Raises:
        AuditError: no step, fewer than two canaries, or sums that are not finite.
    """
    if not len(record.rounds) or record.coins.size < 2 or not np.isfinite(record.sums).all():
        raise AuditError(
            "unusable-register",
            "a register must hold at least one step, two canaries and finite sums",
            hint="ask the site why its record is damaged; until then its claim is not audited",
        )
    expected = clip_norm * sample_rate * len(record.rounds)
    scores: Floats = -record.sums.sum(axis=0) / expected
    return scores


def canary_findings(
    record: RegisterRecord,
    *,
    claimed_epsilon: float,
    delta: float,
    clip_norm: float,
    noise_multiplier: float,
    sample_rate: float,
    confidence: float = 0.99,
) -> list[Finding]:
    """Whether a site's canaries refute its claimed ε; the two bounds share 1 − ``confidence``.

    Args:
        record: with the coins already found equal to the ledger's commitment.
        claimed_epsilon: of the whole run at ``delta``.
        delta: of the claim.
        clip_norm: of the plan.
        noise_multiplier: of the plan.
        sample_rate: of the plan.
        confidence: a true claim passes at least this often.

    Raises:
        AuditError: as ``register_scores``.
    """
    each = 1 - (1 - confidence) / 2
    scores = register_scores(record, clip_norm=clip_norm, sample_rate=sample_rate)
    found = one_run_bounds(scores, record.coins, delta=delta, confidence=each)
    n_tested = found.n_tested
    reach = bounds_of_guesses(n_tested, n_tested, n_tested=n_tested, delta=delta, confidence=each)
    bound = max(found.epsilon_steinke, found.epsilon_fdp)
    furthest = max(reach.epsilon_steinke, reach.epsilon_fdp)
    shown = f"the canaries prove an epsilon of at least {bound:.2f} at delta {delta:g}"
    if bound > claimed_epsilon:
        verdict, because = "fail", f"{shown}, above the claimed {claimed_epsilon:.2f}"
    elif furthest <= claimed_epsilon:
        verdict, because = "not-run", f"{n_tested} tested canaries can prove at most {furthest:.2f}"
    else:
        verdict, because = "pass", f"{shown}, not above the claimed {claimed_epsilon:.2f}"
    return [
        Finding(
            method="canary",
            site=record.site,
            claim=f"Epsilon is at most {claimed_epsilon:.2f} at delta {delta:g}.",
            verdict=verdict,
            because=because,
            figures={
                "epsilon_steinke": found.epsilon_steinke,
                "epsilon_fdp": found.epsilon_fdp,
                "epsilon_reach": furthest,
                "epsilon_gaussian": None
                if sample_rate < 1
                else gaussian_bound(scores, record.coins, delta=delta, confidence=confidence),
                "confidence": confidence,
                "n_canaries": record.coins.size,
                "n_tested": n_tested,
                "n_guessed": found.n_guessed,
                "n_correct": found.n_correct,
                "contribution_in": _mean(scores[record.coins]),
                "contribution_out": _mean(scores[~record.coins]),
                "noise_multiplier_claimed": noise_multiplier,
                "noise_multiplier_found": _noise_multiplier(record, clip_norm),
            },
            blind_to=_BLIND_TO,
        )
    ]


def _choose_guesses(scores: Floats, coins: Bools, *, level: float) -> Counts:
    """How many guesses on each side, [1]: where the f-DP bound is highest on these canaries.

    At most n/2 − 1.5·√n, three standard deviations below the number that took part: with no noise at
    all, one guess too many is a wrong one and would cost a third of the bound.
    """
    most = max(0.0, scores.size / 2 - 1.5 * math.sqrt(scores.size))
    counts = np.unique(np.ceil(np.array(_GUESSED_SHARES) * most).astype(np.int64))
    correct = _correct_guesses(scores, coins, counts)
    mu = _largest_refuted_mu(correct, 2 * counts, scores.size, level=level, halvings=9)
    return counts[[int(mu.argmax())]]


def _correct_guesses(scores: Floats, coins: Bools, per_side: Counts) -> Counts:
    """Right guesses [k] when ``per_side`` [k] highest are called "in" and as many lowest "out"."""
    ranked = coins[np.argsort(scores, kind="stable")]
    among_highest = np.concatenate([[0], np.cumsum(ranked[::-1])])
    among_lowest = np.concatenate([[0], np.cumsum(~ranked)])
    correct: Counts = among_highest[per_side] + among_lowest[per_side]
    return correct


def _largest_refuted_mu(
    correct: Counts, guessed: Counts, n_tested: int, *, level: float, halvings: int
) -> Floats:
    """Largest refuted μ [k], from below; 0 where not even μ = 0 is."""
    low, high = np.zeros(correct.shape), np.full(correct.shape, _MAXIMUM_MU)
    for _ in range(halvings):
        middle = (low + high) / 2
        is_refuted = refutes_gaussian(middle, correct, guessed, n_tested=n_tested, level=level)
        low, high = np.where(is_refuted, middle, low), np.where(is_refuted, high, middle)
    return low


def _steinke_epsilon(
    n_correct: int, n_guessed: int, n_tested: int, *, delta: float, level: float
) -> float:
    """Largest ε whose p-value is below ``level``, from below; 0 if there is none."""
    low, high = 0.0, _MAXIMUM_EPSILON
    for _ in range(40):
        middle = (low + high) / 2
        p_value = steinke_p_value(n_correct, n_guessed, n_tested, epsilon=middle, delta=delta)
        low, high = (middle, high) if p_value < level else (low, middle)
    return low


def _least_wrong(right: Floats, mu: Floats) -> Floats:
    """Smallest share of wrong guesses that G_μ allows beside this share of right ones."""
    share: Floats = ndtr(ndtri(np.minimum(right, 1.0)) - mu)
    return share


def _noise_multiplier(record: RegisterRecord, clip_norm: float) -> float | None:
    """Noise over clip norm of one step, from the coordinates that no canary wrote on."""
    silent = record.sums[:, ~record.coins]
    return math.sqrt(float(np.mean(silent**2))) / clip_norm if silent.size else None


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None
