"""Privacy events: immutable facts "this mechanism touched these patients".

An event says what was done, never what it costs: ``accountant`` interprets it, ``filter`` enforces a
cap over many. Noise multiplier and sample rate are kept on a coarse grid so that events merge and an
accountant's work does not grow with the number of rounds. Imports errors only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import PrivacyError

# Below this, numeric accountants exhaust memory and no useful guarantee is left.
MINIMUM_NOISE_MULTIPLIER = 0.3
# Chance, at most, that more patients are drawn for a sampled step than it has places for; such a step
# adds nobody. Small enough that e^50 times it, over 10,000 steps, is less than a thousandth of δ 1e-5.
STEP_OVERFLOW = 1e-36


@dataclass(frozen=True, kw_only=True, order=True)
class GaussianEvent:
    """``steps`` releases of a sum over patients, each with Gaussian noise.

    Unit: the patient; adjacency: add/remove. One patient moves a sum by at most the sensitivity (L2);
    the noise's standard deviation is ``noise_multiplier`` times it.

    Args:
        noise_multiplier: standard deviation over sensitivity, at least 0.3.
        steps: number of releases, at least 1.
        sample_rate: chance of a patient to be in a step (Poisson); 1 means everybody in every step.

    Raises:
        PrivacyError: a value is out of its range, so no accountant will ever see it.
    """

    noise_multiplier: float
    sample_rate: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not MINIMUM_NOISE_MULTIPLIER <= self.noise_multiplier < math.inf:
            raise PrivacyError(
                "noise-too-low",
                f"noise multiplier must be at least {MINIMUM_NOISE_MULTIPLIER}, "
                f"not {self.noise_multiplier}",
                hint="ask for a smaller epsilon or fewer steps",
            )
        if not 0 < self.sample_rate <= 1:
            raise PrivacyError("bad-event", f"sample rate must be in (0, 1], not {self.sample_rate}")
        if self.steps < 1:
            raise PrivacyError("bad-event", f"steps must be at least 1, not {self.steps}")


def merge_events(events: Iterable[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """Events of equal noise and sample rate added up, in a fixed order."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        kind = (event.noise_multiplier, event.sample_rate)
        steps[kind] = steps.get(kind, 0) + event.steps
    return tuple(
        GaussianEvent(noise_multiplier=noise, sample_rate=rate, steps=count)
        for (noise, rate), count in sorted(steps.items())
    )


def is_full_batch(events: Iterable[GaussianEvent]) -> bool:
    """Whether every event touches every patient in every step, so that exact Gaussian formulas hold."""
    return all(event.sample_rate == 1 for event in events)


def overflow_of(events: Iterable[GaussianEvent]) -> float:
    """Chance, at most, that any step of these events adds nobody for want of places."""
    return STEP_OVERFLOW * sum(event.steps for event in events if event.sample_rate < 1)
