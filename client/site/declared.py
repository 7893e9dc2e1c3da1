"""The sizes that a hospital may publish: few enough that none tells how many patients it has.

Each is at most a third above the one before. A hospital takes the one that it is nearest to; were sizes
published to the last patient, two of them would say how many came in between. Imports errors only.
"""

from __future__ import annotations

from bisect import bisect

from shared.errors import PolicyError

# 10 to 80 in ten steps (the preferred numbers R10 of ISO 3, rounded), each decade alike.
_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
BUCKETS = tuple(step * 10**decade for decade in range(5) for step in _STEPS)


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
        hint="take the nearest one; the exact count stays here",
    )
