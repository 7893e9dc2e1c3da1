"""A plan's last day is the one that was typed, or a year from now."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from server.command.options import last_day


def test_a_last_day_that_was_typed_is_the_last_day() -> None:
    assert last_day(datetime(2027, 3, 31)) == date(2027, 3, 31)


def test_a_plan_ends_after_a_year_where_nobody_says_when() -> None:
    before = datetime.now(UTC).date()
    assert timedelta(days=365) <= last_day(None) - before <= timedelta(days=366)
