"""Rows by signal: what it is, which row it reaches, and tables that are none."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from shared.contract.schedules import ScheduleRow, ScheduleRows, choose_row, signal_of


class Table(BaseModel):
    rows: ScheduleRows


def rows(*signals: float | None) -> tuple[ScheduleRow, ...]:
    return tuple(
        ScheduleRow(from_signal=signal, learning_rate=1 + place, rounds=1, local_steps=1)
        for place, signal in enumerate(signals)
    )


def test_the_signal_grows_with_epsilon_and_patients_and_falls_with_the_noise_of_more_sites() -> None:
    assert signal_of(2.0, [100]) == 200
    assert signal_of(2.0, [25, 25, 25, 25]) == 100, "four noises are twice as loud as one"
    assert signal_of(1.0, [50, 50]) == pytest.approx(100 / 2**0.5)


def test_the_row_is_the_last_that_the_signal_reaches() -> None:
    table = rows(0, 100, 400, None)
    found = [choose_row(table, signal).learning_rate for signal in (0.1, 99.9, 100, 399, 400, 1e9)]
    assert found == [1, 1, 2, 2, 3, 3]
    assert choose_row(table, None) == table[-1], "of privacy off"


def test_one_row_without_a_signal_is_for_everything() -> None:
    [only] = table = rows(None)
    assert choose_row(table, None) == choose_row(table, 500.0) == only


@pytest.mark.parametrize(
    "signals",
    [(0, 100), (50, None), (0, 400, 100, None), (0, 100, 100, None), (None, 0), (0, None, None)],
)
def test_a_table_that_leaves_a_gap_or_goes_back_is_refused(signals: tuple[float | None, ...]) -> None:
    with pytest.raises(ValidationError, match="must rise from 0"):
        Table(rows=rows(*signals))


def test_a_table_that_rises_from_0_is_taken() -> None:
    for signals in ((None,), (0, None), (0, 0.5, 7, None)):
        assert Table(rows=rows(*signals)).rows == rows(*signals)
