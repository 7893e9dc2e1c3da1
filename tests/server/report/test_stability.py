"""A choice under fresh noise: steady where noise is small, at chance where it is all there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task

from server.report.stability import COLUMNS, measure_stability, stability_rows
from shared.learners.selection import Selection, SelectionSettings
from shared.sums.contract import State
from shared.sums.federate import Noise, federate

BY = {
    "univariate": {"kind": "univariate", "radius_per_column": 10.0},
    "lasso": {"kind": "lasso", "radius_per_column": 10.0},
}
SHARES = [{"up_to_epsilon": 50, "share": 0.25}]


def chosen(by: str, *, sd: float | None = None) -> tuple[Selection, State]:
    """A choice of 2 among 10 columns, whose total's noise had this SD."""
    values = {
        "kind": "selection",
        "by": {**BY[by], "shares": SHARES},
        "keep": 2,
        "then": {"kind": "nearest_centroid"},
    }
    task = table_task(10, n_classes=3, epsilon=3.0)
    selection = Selection.build(SelectionSettings.model_validate(values), task)
    state = federate(selection, in_three(classes(600, 10)), n_declared=600)
    if sd is None:
        return selection, state
    noise = state.memory["choice_noise"] * [0.0, 1.0] + [sd, 0.0]
    return selection, replace(state, memory={**state.memory, "choice_noise": noise})


@pytest.mark.parametrize("by", BY)
def test_without_noise_every_draw_keeps_what_the_run_kept(by: str) -> None:
    selection, state = chosen(by)
    found = measure_stability(selection, state)
    assert {each.column for each in found if each.is_kept} == {"x0", "x1"}
    assert {each.frequency for each in found if each.is_kept} == {1.0}
    assert {each.frequency for each in found if not each.is_kept} == {0.0}
    assert [each.rank for each in found[:2]] == [1.0, 2.0]


@pytest.mark.parametrize("by", BY)
def test_where_noise_is_everything_columns_are_kept_about_equally_often(by: str) -> None:
    selection, state = chosen(by, sd=1e7)
    found = measure_stability(selection, state, draws=200)
    shares = [each.frequency for each in found]
    assert np.mean(shares) == pytest.approx(0.2)
    assert max(shares) < 0.5


def test_a_state_before_a_choice_or_without_its_memory_tells_no_stability() -> None:
    selection, state = chosen("lasso")
    assert measure_stability(selection, selection.start()) == ()
    assert measure_stability(selection, replace(state, memory={})) == ()


def test_noise_that_was_added_is_counted_with_what_is_added_anew() -> None:
    selection, state = chosen("lasso", sd=30.0)
    again = selection.choose_again(state, np.zeros(selection.asked.length))
    total, n = state.memory["choice_total"], 600.0
    louder = selection.asked.scores(total, sd=30.0 * np.sqrt(2.0), n_declared=n)
    assert again is not None
    assert np.array_equal(again, louder)


def test_the_noised_total_stays_through_every_following_sum() -> None:
    selection, _ = chosen("lasso")
    noise = Noise(mu=1.0, draw_normals=np.random.default_rng(3).standard_normal)
    state = federate(selection, [classes(300, 10)], n_declared=300, noise=noise)
    assert state.sums_done == len(selection.shares()) > 1
    # σ = 1/(μ·√share) of one site
    assert state.memory["choice_noise"][0] == pytest.approx(2.0 * selection.asked.bound)
    assert len(state.memory["choice_total"]) == selection.asked.length


def test_a_row_says_whether_the_run_kept_the_column() -> None:
    selection, state = chosen("lasso")
    rows = stability_rows(measure_stability(selection, state))
    assert len(rows) == 10
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert [row[1] for row in rows] == ["yes"] * 2 + ["no"] * 8
    assert rows[0][3] == "100%"
