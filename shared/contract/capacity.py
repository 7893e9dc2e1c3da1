"""How many patients a split has places for: a constant of the plan, by which a round's work is fixed.

A site declares the patients that it expects to train on. A keyed hash splits a cohort, so the size of a
split is binomial; its capacity is a quantile of that, which the split of a cohort of the declared size
exceeds once in a thousand million times. A round is computed over as many places, the empty ones filled
with nobody, so that its time tells the capacity and not the count. Imports the schema and stages.
"""

from __future__ import annotations

import functools
import math

from scipy.special import bdtrc

from shared.contract.stages import PatientGroup
from shared.exam.schema import SplitRule

# Chance that the split of a cohort of the declared size has more patients than places.
OVERFLOW = 1e-9
# A size over a share is a whole number but for rounding.
_ROUNDING = 1e-9


def capacity_of(split: SplitRule, patients: PatientGroup, *, declared: int) -> int:
    """Places for a group of a site's patients.

    Training and held-out patients: the binomial quantile of their share of a cohort of which
    ``declared`` are expected to train. Everybody, and who is accrued: as large a cohort as has so many
    training patients. A table's own column splits as it likes, so each of its splits has the places of
    everybody.

    Args:
        split: shares of a cohort.
        patients: the group that is asked.
        declared: training patients, as the site publishes them.
    """
    share = split.train or 1.0
    cohort = math.ceil(declared / share - _ROUNDING)
    trains = binomial_quantile(cohort, share)
    if patients in ("everybody", "accrued") or split.column:
        return math.floor(trains / share + _ROUNDING)
    return trains if patients == "train" else binomial_quantile(cohort, split.internal)


@functools.lru_cache(maxsize=256)
def binomial_quantile(n: int, share: float, *, overflow: float = OVERFLOW) -> int:
    """The least k that a binomial number of ``n`` with chance ``share`` exceeds at most so often.

    Args:
        n: draws, at least 0.
        share: chance of each, 0 to 1.
        overflow: P(X > k) at most, above 0.
    """
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if float(bdtrc(middle, n, share)) <= overflow:
            high = middle
        else:
            low = middle + 1
    return high
