"""The page of the schedules is made of its data, and says what each schedule keeps."""

from __future__ import annotations

import pytest

from server.experiments.schedules_page import (
    QUOTE_BEGINS,
    QUOTE_ENDS,
    quote_schedules,
    schedules_page,
    shares_of_standard,
)
from server.federation.measured import MeasuredSchedule, read_measured
from shared.contract.model_settings import LinearHead
from shared.contract.schedules import ScheduleRow
from shared.machine.files import PROJECT


def row(schedule: str, *r2: float, epsilon: float = 1.0, declared: tuple[int, ...] = (10, 20)):
    return MeasuredSchedule(
        fusion=LinearHead(name="linear"),
        schedule=schedule,
        epsilon=epsilon,
        declared=declared,
        row=ScheduleRow(learning_rate=0.5, rounds=2, local_steps=5, fold="site"),
        r2=r2,
    )


def test_the_page_in_the_documents_is_that_of_the_shipped_figures() -> None:
    shown = (PROJECT / "docs" / "schedules.md").read_text()
    assert shown == schedules_page(read_measured()), "run make schedules"


def test_what_the_how_to_quotes_is_of_the_shipped_figures() -> None:
    page = (PROJECT / "docs" / "how-to" / "slow-links.md").read_text()
    assert page == quote_schedules(page, read_measured()), "run make schedules"


def test_a_page_quotes_the_shares_between_its_marks_and_keeps_the_rest() -> None:
    rows = (
        row("standard", 0.5, 0.4, 0.6, epsilon=3.0),
        row("standard", 0.5, 0.5, 0.5),
        row("one_message", 0.4, 0.4, 0.4, epsilon=3.0),
        row("one_message", 0.2, 0.3, 0.4),
    )
    shipped = read_measured().model_copy(update={"rows": rows})
    page = quote_schedules(f"first\n{QUOTE_BEGINS}\nold\n{QUOTE_ENDS}\nlast\n", shipped)
    assert page.startswith("first\n")
    assert page.endswith("\nlast\n")
    assert "old" not in page
    assert "is kept at ε 3, 1," in page
    assert "| `one_message` | 2 | 80, 60 % |" in page
    assert quote_schedules(page, shipped) == page
    with pytest.raises(ValueError, match="once each"):
        quote_schedules("no marks", shipped)


def test_a_share_is_of_the_same_head_at_the_same_epsilon_and_sizes() -> None:
    rows = [
        row("standard", 0.5, 0.4, 0.6),
        row("one_message", 0.2, 0.3, 0.4),
        row("standard", -0.2, epsilon=3.0),
        row("one_message", 0.1, epsilon=3.0),
        row("one_message", 0.1, declared=(10,)),
    ]
    assert shares_of_standard(rows) == [1.0, pytest.approx(0.6), None, None, None]


def test_the_page_has_a_table_per_place_and_every_figure() -> None:
    shipped = read_measured()
    page = schedules_page(
        shipped.model_copy(
            update={
                "rows": (
                    row("standard", 0.5, 0.4, 0.6),
                    row("one_message", 0.2, 0.3, 0.4),
                    row("one_message", 0.111, declared=(10,)),
                )
            }
        )
    )
    assert "## 2 sites of 10, 20 training patients" in page
    assert "## One site of 10 training patients" in page
    assert "| linear | one_message | 0.300 (2; 60 %) |" in page
    assert "| linear | one_message | 0.111 (2) |" in page
    assert (
        "| 10 + 20 | linear | one_message | 1 | 21 | 2 × 5 | 0.5 | site | 0.200, 0.300, 0.400 |" in page
    )
