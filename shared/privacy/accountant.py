"""What events cost: ε at a δ, and the noise that a target ε needs.

Full-batch Gaussian events are μ-GDP with μ² = Σ steps/noise_multiplier², exactly (Dong, Roth, Su
2022, Gaussian Differential Privacy, Cor. 3.3). Sampled events go through Opacus' PRV accountant,
whose upper bound is reported, at the δ that is left once the chance of a step without places is paid
for. Both suppose that the events were fixed before the first touch; for
runs chosen adaptively see ``filter``. The project's one door to Opacus' accountants.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from shared.errors import PrivacyError
from shared.privacy.events import (
    MINIMUM_NOISE_MULTIPLIER,
    GaussianEvent,
    is_full_batch,
    merge_events,
    overflow_of,
)

ACCOUNTANT_EXACT = "exact Gaussian"
NO_ACCOUNTANT = "none: nothing is noised"
ACCOUNTANT_SAMPLED = "PRV (Opacus)"
NOISE_GRID = 0.01
# Share of δ that pays for sampled steps which add nobody for want of places.
OVERFLOW_SHARE = 1e-3
MAXIMUM_NOISE_MULTIPLIER = 1000.0
PRV_EPSILON_ERROR = 0.01
# Of the PRV accountant's grid, about 250 bytes each while it works; ε = 50 in 10,000 steps fits.
MAXIMUM_PRV_POINTS = 10_000_000
_SIZING_ORDERS = (1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0, 128.0)


def gaussian_delta(epsilon: float, mu: float) -> float:
    """δ of a μ-GDP mechanism at ε.

    δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).

    Source: Balle and Wang 2018 (arXiv 1805.06530), Theorem 8; Dong, Roth, Su 2022, Cor. 2.13.
    """
    if mu == 0:
        return 0.0
    high = ndtr(mu / 2 - epsilon / mu)
    # e^ε overflows and Φ underflows, their product does neither.
    low = math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, float(high - low))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Smallest ε ≥ 0 at which a μ-GDP mechanism has at most ``delta``."""
    _check_delta(delta)
    if gaussian_delta(0.0, mu) <= delta:
        return 0.0
    # μ²/2 + μ·sqrt(2 ln(1/δ)) is the zCDP bound (Bun and Steinke 2016, Prop. 1.3): above the root.
    high = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1e-6
    return float(brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0.0, high, xtol=1e-12))


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Largest μ whose ε at ``delta`` is at most ``epsilon``, rounded down by 1e-9."""
    _check_delta(delta)
    if not 0 < epsilon <= 1000:
        raise PrivacyError("bad-epsilon", f"epsilon must be in (0, 1000], not {epsilon}")
    root = brentq(lambda mu: gaussian_delta(epsilon, mu) - delta, 1e-9, 100.0, xtol=1e-12)
    return float(root) * (1 - 1e-9)


def squared_mu(events: Iterable[GaussianEvent]) -> float:
    """Σ steps/noise_multiplier² of full-batch events."""
    return math.fsum(event.steps / event.noise_multiplier**2 for event in events)


def epsilon_of(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε of events registered before the first touch, at ``delta``.

    Exact when every sample rate is 1, else an upper bound (PRV, error 0.01). No events cost 0.

    Raises:
        PrivacyError: ``delta`` is not in (0, 1), or sampled events are beyond what can be accounted.
    """
    merged = merge_events(events)
    _check_delta(delta)
    if not merged:
        return 0.0
    if is_full_batch(merged):
        return gaussian_epsilon(math.sqrt(squared_mu(merged)), delta)
    found = _prv_epsilon(merged, delta)
    if math.isinf(found):
        raise PrivacyError(
            "unaccountable",
            "at so large an epsilon, sampled steps without places cost more than their share of delta, "
            f"{OVERFLOW_SHARE:g}",
            hint="ask for fewer steps, a smaller epsilon, or a sample rate of 1",
        )
    return found


def delta_of_noise(events: Iterable[GaussianEvent], delta: float) -> float:
    """The δ at which noise is accounted: all of it, or what sampled steps leave of it.

    A sampled step has places for a public number of patients (``sampler``). A mechanism that differs
    with chance p at most from one that has (ε, δ') has (ε, δ' + (1 + e^ε)·p).
    """
    return delta if is_full_batch(events) else delta * (1.0 - OVERFLOW_SHARE)


def is_overflow_paid(events: Iterable[GaussianEvent], epsilon: float, delta: float) -> bool:
    """Whether (1 + e^ε)·p fits into the share of ``delta`` that is kept for it."""
    chance = overflow_of(events)
    return chance == 0 or math.log1p(math.exp(-epsilon)) + epsilon + math.log(chance) <= math.log(
        delta * OVERFLOW_SHARE
    )


def accountant_name(events: Iterable[GaussianEvent]) -> str:
    """Name of the accountant that ``epsilon_of`` uses for these events, to print beside the ε.

    ``NO_ACCOUNTANT`` of no events: there is no ε then, and nothing may be printed beside it.
    """
    events = list(events)
    if not events:
        return NO_ACCOUNTANT
    return ACCOUNTANT_EXACT if is_full_batch(events) else ACCOUNTANT_SAMPLED


def calibrate(epsilon: float, delta: float, *, steps: int = 1, sample_rate: float = 1.0) -> float:
    """Smallest noise multiplier on the 0.01 grid whose ``steps`` cost at most ``epsilon``.

    Never below the minimum of 0.3, where it costs less than asked.

    Raises:
        PrivacyError: ε or δ out of range, or no noise multiplier up to 1000 suffices.
    """
    if not 0 < epsilon <= 1000:
        raise PrivacyError("bad-epsilon", f"epsilon must be in (0, 1000], not {epsilon}")
    _check_delta(delta)
    low = round(MINIMUM_NOISE_MULTIPLIER / NOISE_GRID)
    high = round(MAXIMUM_NOISE_MULTIPLIER / NOISE_GRID)
    # Sampling only lowers the cost, so the full-batch answer bounds the numeric search from above.
    if sample_rate < 1:
        full = math.sqrt(steps) / gaussian_mu(epsilon, delta)
        high = max(low, min(high, math.ceil(full / NOISE_GRID) + 1))
    if not _costs_at_most(epsilon, high, delta=delta, steps=steps, sample_rate=sample_rate):
        raise PrivacyError(
            "unreachable",
            f"no noise multiplier up to {MAXIMUM_NOISE_MULTIPLIER:g} gives epsilon {epsilon} "
            f"over {steps} steps",
            hint="ask for fewer steps or a larger epsilon",
        )
    while low < high:
        middle = (low + high) // 2
        if _costs_at_most(epsilon, middle, delta=delta, steps=steps, sample_rate=sample_rate):
            high = middle
        else:
            low = middle + 1
    return round(high * NOISE_GRID, 2)


def _costs_at_most(
    epsilon: float, grid_index: int, *, delta: float, steps: int, sample_rate: float
) -> bool:
    noise_multiplier = round(grid_index * NOISE_GRID, 2)
    event = GaussianEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)
    if sample_rate == 1:
        return epsilon_of([event], delta) <= epsilon
    is_accountable = _prv_points((event,), delta) <= MAXIMUM_PRV_POINTS
    return is_accountable and _prv_epsilon((event,), delta) <= epsilon


@functools.lru_cache(maxsize=512)
def _prv_epsilon(events: tuple[GaussianEvent, ...], delta: float) -> float:
    from opacus.accountants import PRVAccountant

    if _prv_points(events, delta) > MAXIMUM_PRV_POINTS:
        raise PrivacyError(
            "unaccountable",
            f"sampled steps of so large a cost or number need more than {MAXIMUM_PRV_POINTS:.0e} "
            "points to be accounted",
            hint="ask for fewer steps, a smaller epsilon, or a sample rate of 1",
        )
    accountant = PRVAccountant()
    accountant.history = [(event.noise_multiplier, event.sample_rate, event.steps) for event in events]
    at = delta_of_noise(events, delta)
    # At sample rate 1 it takes log(1 − q) = −∞, rightly.
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # It sizes its grid by a loose Rényi bound and says so; the bound reported is not affected.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        epsilon = float(accountant.get_epsilon(at, eps_error=PRV_EPSILON_ERROR))
    return epsilon if is_overflow_paid(events, epsilon, delta) else math.inf


def _prv_points(events: tuple[GaussianEvent, ...], delta: float) -> float:
    """About how many points the PRV accountant's grid has: it spans ±ε at error/√(steps·ln(12/δ')/2).

    Beyond the maximum it exhausts memory, or rounding makes it report anything, below 0 included.

    Source: Gopi, Lee, Wutschitz 2021 (arXiv 2106.02848), section 5; δ' = δ/1000 in Opacus.
    """
    divergences = renyi_divergences(events, _SIZING_ORDERS)
    span = min(
        divergence + math.log(1000 / delta) / (order - 1)
        for order, divergence in zip(_SIZING_ORDERS, divergences, strict=True)
    )
    steps = sum(event.steps for event in events)
    return 2 * span * math.sqrt(steps * math.log(12_000 / delta) / 2) / PRV_EPSILON_ERROR


def renyi_divergences(events: Iterable[GaussianEvent], orders: tuple[float, ...]) -> list[float]:
    """Summed Rényi divergence of the events at each order [len(orders)].

    Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), as computed by Opacus.
    """
    from opacus.accountants.analysis.rdp import compute_rdp

    total = [0.0] * len(orders)
    for event in merge_events(events):
        part = compute_rdp(
            q=event.sample_rate,
            noise_multiplier=event.noise_multiplier,
            steps=event.steps,
            orders=list(orders),
        )
        total = [had + float(more) for had, more in zip(total, part, strict=True)]
    return total


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise PrivacyError("bad-delta", f"delta must be in (0, 1), not {delta}")
