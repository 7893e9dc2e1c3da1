"""A message's way over the declared link, and a deadline that it can keep."""

from __future__ import annotations

import pytest

from server.federation.compose import compose_settings
from server.federation.link import deadline_of, link_hours
from shared.contract.settings import FederationSettings
from shared.errors import SettingsError

BYTES = 900_000_000  # 7,200 Mbit: an hour at 2 Mbit/s


def link(*asked: str) -> FederationSettings:
    return compose_settings([f"federation.{each}" for each in ("link_mbit_s=2", *asked)]).federation


def test_hours_are_those_of_the_bytes_on_the_link_and_of_waiting() -> None:
    assert link_hours(3, BYTES, link()) == pytest.approx(3.0)
    assert link_hours(3, BYTES, link("link_wait_h=24")) == pytest.approx(75.0)


@pytest.mark.parametrize(
    ("asked", "n_bytes", "seconds"),
    [
        ([], 1000, 3600.0),
        ([], BYTES, 7200.0),
        (["link_wait_h=12"], 0, 2 * 12 * 3600.0),
        (["round_deadline_s=40"], 1000, 40.0),
        (["round_deadline_s=50000", "link_wait_h=12"], 0, 50_000.0),
    ],
)
def test_a_deadline_is_as_asked_or_twice_the_way_and_an_hour_at_least(
    asked: list[str], n_bytes: int, seconds: float
) -> None:
    assert deadline_of(link(*asked), n_bytes=n_bytes) == pytest.approx(seconds)


def test_a_deadline_that_is_over_before_a_message_has_come_and_gone_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        deadline_of(link("round_deadline_s=3600", "link_wait_h=12"), n_bytes=0)
    assert caught.value.code == "settings.deadline-below-link"
    assert "43200" in caught.value.fact
