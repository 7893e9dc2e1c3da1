"""Times that are given away tell the hour, whatever the clock, its zone or an earlier format wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.machine.hours import hour_in, hour_text, whole_hour


def test_two_moments_of_an_hour_cannot_be_told_apart() -> None:
    first = datetime(2026, 1, 2, 3, 0, 0, 1, tzinfo=UTC)
    last = datetime(2026, 1, 2, 3, 59, 59, 999_999, tzinfo=UTC)
    assert hour_text(first) == hour_text(last) == "2026-01-02T03:00:00+00:00"
    assert hour_text(last + timedelta(microseconds=1)) == "2026-01-02T04:00:00+00:00"


def test_the_hour_is_that_of_utc_also_where_a_zone_has_half_an_hour() -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    assert whole_hour(datetime(2026, 1, 2, 3, 10, tzinfo=kolkata)) == datetime(
        2026, 1, 1, 21, tzinfo=UTC
    )


def test_what_an_earlier_format_wrote_has_an_hour_and_what_is_no_time_has_none() -> None:
    assert hour_in("2026-01-02T03:04:05.678901+00:00") == datetime(2026, 1, 2, 3, tzinfo=UTC)
    with pytest.raises(ValueError, match="isoformat"):
        hour_in("yesterday")
