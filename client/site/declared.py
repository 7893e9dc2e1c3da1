"""The sizes that a hospital may publish: few enough that none tells how many patients it has.

Each is at most a third above the one before. A hospital takes the least one whose splits hold its
patients (``shared.contract.capacity``); were sizes published to the last patient, two of them would say
how many came in between. Imports errors and the capacity of a split.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping

from shared.contract.capacity import capacity_of
from shared.contract.stages import PatientGroup
from shared.errors import IntakeError, PolicyError
from shared.exam.schema import SplitRule

# 10 to 80 in ten steps (the preferred numbers R10 of ISO 3, rounded), each decade alike.
_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
BUCKETS: tuple[int, ...] = tuple(step * 10**decade for decade in range(5) for step in _STEPS)


def require_bucket(declared_patients: int) -> None:
    """Refuse a size that is none of the public list.

    Raises:
        PolicyError: with the two next ones.
    """
    if declared_patients in BUCKETS:
        return
    place = bisect(BUCKETS, declared_patients)
    near = " or ".join(str(size) for size in BUCKETS[max(0, place - 1) : place + 1])
    raise PolicyError(
        "no-bucket",
        f"declared patients must be a size of the public list, {near}, not {declared_patients}",
        hint="take the larger one; the exact count stays here",
    )


def exceeds(
    sizes: Mapping[PatientGroup, int], rule: SplitRule, *, declared_patients: int
) -> tuple[PatientGroup, ...]:
    """Groups of a cohort that have more patients than a declared size has places.

    Args:
        sizes: patients of each group.
        rule: how the cohort was split.
        declared_patients: training patients, as published.
    """
    return tuple(
        group for group, n in sizes.items() if n > capacity_of(rule, group, declared=declared_patients)
    )


def bucket_for(sizes: Mapping[PatientGroup, int], rule: SplitRule) -> int:
    """The least size of the public list that has places for all groups; the largest if none has."""
    held = (size for size in BUCKETS if not exceeds(sizes, rule, declared_patients=size))
    return next(held, BUCKETS[-1])


def require_places(
    sizes: Mapping[PatientGroup, int], rule: SplitRule, *, declared_patients: int
) -> None:
    """Refuse to compute over more patients than there are places: the time would tell it.

    Nobody is left out instead: one patient who comes would then push another one out.

    Raises:
        IntakeError: a group has more patients than places.
    """
    if exceeds(sizes, rule, declared_patients=declared_patients):
        raise IntakeError(
            "over-capacity",
            f"a split has more patients than a declared size of {declared_patients} has places for",
            hint=f"publish {bucket_for(sizes, rule)} by `osteofed-site declare`; ask for a new plan",
        )
