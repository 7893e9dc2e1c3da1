"""The schedules' figures: a quick row measured for real, and how rows are collected and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.experiments import schedules
from server.experiments.schedules import measure_schedules, write_schedules
from server.experiments.schedules_page import QUOTE_BEGINS, QUOTE_ENDS
from server.federation.measured import MeasuredSchedule, read_measured
from shared.contract.schedules import signal_of


@pytest.fixture(scope="module")
def quick() -> tuple[list[MeasuredSchedule], object]:
    """The linear head, at its smallest: trained and read as the published figures are."""
    told: list[MeasuredSchedule] = []
    measured = measure_schedules(
        heads=("linear",),
        epsilons=(8.0,),
        places=(("aster", "birch"), ("aster",)),
        sizes={"aster": 70, "birch": 110},
        n_seeds=1,
        n_evaluated=160,
        progress=told.append,
    )
    return told, measured


def test_every_schedule_of_a_head_learns_from_the_hospitals(quick: tuple) -> None:
    told, measured = quick
    assert measured.rows == tuple(told)
    assert (measured.seeds, measured.n_evaluated) == ((101,), 160)
    asked = [(row.schedule, row.declared) for row in measured.rows]
    assert asked == [
        (schedule, declared)
        for declared in ((70, 110), (70,))
        for schedule in ("standard", "few_messages", "one_message")
    ]
    for row in measured.rows:
        # an untrained head reads R² −1; a broken schedule far below
        assert row.r2[0] > 0.3, row.schedule
        assert row.signal == signal_of(8.0, row.declared)
    assert [row.row.rounds for row in measured.rows[:3]] == [10, 2, 1]


def test_the_files_hold_what_was_measured(quick: tuple, tmp_path: Path) -> None:
    _, measured = quick
    (tmp_path / "docs" / "how-to").mkdir(parents=True)
    quoting = tmp_path / "docs" / "how-to" / "slow-links.md"
    quoting.write_text(f"{QUOTE_BEGINS}\n{QUOTE_ENDS}\n")
    file, page, quoted = write_schedules(measured, file=tmp_path / "schedules.json", root=tmp_path)
    assert read_measured(file) == measured
    assert page == tmp_path / "docs" / "schedules.md"
    assert quoted == quoting
    assert "| `standard` | 10 | 100 % |" in quoting.read_text()
    assert f"{measured.rows[0].r2[0]:.3f} (10; 100 %)" in page.read_text()


def test_what_is_published_is_every_head_schedule_and_epsilon_in_both_places() -> None:
    cells = list(
        schedules._cells(schedules.HEADS, schedules.SCHEDULES, schedules.EPSILONS, schedules.PLACES)
    )
    assert len(set(cells)) == len(cells) == 2 * 5 * 3 * 3
    shipped = [
        (row.fusion.name, row.schedule, row.epsilon, len(row.declared)) for row in read_measured().rows
    ]
    assert sorted(shipped) == sorted(
        (head, schedule, epsilon, len(place)) for head, schedule, epsilon, place in cells
    )
    assert read_measured().seeds == (101, 102, 103)
    assert read_measured().n_evaluated == schedules.N_EVALUATED
