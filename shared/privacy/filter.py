"""The enforcing filter: may one more event happen under a lifetime cap (ε, δ)?

A ledger's runs are chosen after seeing earlier results, so a formula for events fixed beforehand does
not bound them. Two filters hold under fully adaptive composition: for full-batch Gaussian events
Σ steps/noise_multiplier² ≤ μ² (Smith and Thakurta 2022, arXiv 2210.17520), and otherwise the Rényi
filter over a set of orders (Feldman and Zrnic 2021, arXiv 2008.11193; Lécuyer 2021, arXiv 2103.01379:
it stops only when every order is used up). Imports events and accountant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from shared.privacy.accountant import (
    delta_of_noise,
    gaussian_epsilon,
    gaussian_mu,
    is_overflow_paid,
    renyi_divergences,
    squared_mu,
)
from shared.privacy.events import GaussianEvent, is_full_batch, merge_events

RENYI_ORDERS: tuple[float, ...] = (
    *(1 + step / 10 for step in range(1, 100)),
    *(float(order) for order in range(11, 64)),
    *(72.0, 80.0, 96.0, 128.0, 192.0, 256.0, 512.0),
)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a hospital grants a patient: ε for life and per run, at one δ."""

    epsilon_lifetime: float
    epsilon_per_run: float
    delta: float


def fits(events: Iterable[GaussianEvent], *, epsilon: float, delta: float) -> bool:
    """Whether events, chosen adaptively, stay within (``epsilon``, ``delta``)."""
    merged = merge_events(events)
    if not merged:
        return True
    if is_full_batch(merged):
        return squared_mu(merged) <= gaussian_mu(epsilon, delta) ** 2
    return _renyi_epsilon(merged, delta) <= epsilon


def filter_epsilon(events: Iterable[GaussianEvent], delta: float) -> float:
    """The ε that the filter counts as spent, valid whatever made the next event be chosen."""
    merged = merge_events(events)
    if not merged:
        return 0.0
    if is_full_batch(merged):
        return gaussian_epsilon(math.sqrt(squared_mu(merged)), delta)
    return _renyi_epsilon(merged, delta)


def _renyi_epsilon(events: tuple[GaussianEvent, ...], delta: float) -> float:
    """ε of Rényi divergences, best order; infinite where steps without places cost too much.

    Source: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010), Prop. 12.
    """
    divergences = renyi_divergences(events, RENYI_ORDERS)
    at = delta_of_noise(events, delta)
    epsilon = min(
        max(
            0.0,
            divergence + math.log1p(-1 / order) - (math.log(at) + math.log(order)) / (order - 1),
        )
        for order, divergence in zip(RENYI_ORDERS, divergences, strict=True)
    )
    return epsilon if is_overflow_paid(events, epsilon, delta) else math.inf
