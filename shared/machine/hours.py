"""Times as they are given away: whole hours in UTC.

Between a charge and its outcome lies the time that a round took, and with it something of who was in
it. So nothing that a site hands over carries a finer time; what came first follows from places in the
chain. Imports nothing of the project.
"""

from __future__ import annotations

from datetime import UTC, datetime

# Longest time from a lock to its answer that a lock may name; ten years.
MOST_DAYS = 3650


def whole_hour(moment: datetime) -> datetime:
    """The hour, in UTC, in which a moment lies.

    Args:
        moment: with its time zone.
    """
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_text(moment: datetime) -> str:
    """``whole_hour`` as it is written, in ISO 8601."""
    return whole_hour(moment).isoformat()


def hour_in(text: str) -> datetime:
    """The hour in which a written time lies; earlier formats wrote finer ones.

    Raises:
        ValueError: no time in ISO 8601.
    """
    return whole_hour(datetime.fromisoformat(text))
