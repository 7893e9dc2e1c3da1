"""Pictures of a report: marks where figures are, words where none are, and what is read aloud."""

from __future__ import annotations

import re

import pytest

from server.report.pictures import (
    ACCENT,
    WARN,
    ForestRow,
    draw_flow,
    draw_forest,
    draw_rounds,
    forest_rows,
)
from server.report.results import Results
from shared.sums.estimate import SUPPRESSED, Estimate


def forest(*rows: ForestRow, floor: float = 0.4) -> str:
    return draw_forest(rows, title="AUC", reference=0.5, reference_label="chance", floor=floor)


def measured(value: float, low: float, high: float) -> Estimate:
    return Estimate(status="measured", value=value, low=low, high=high)


def test_groups_follow_the_kinds_and_a_pooled_row_is_last_in_its_own(results: Results) -> None:
    rows = forest_rows(results, lambda measures: measures.auc, with_random_effects=True)
    assert [row.label for row in rows] == [
        *("Internal", "northgate", "st-anna", "lakeside", "all sites, pooled", "mean of sites"),
        *("External", "harbour", "Prospective", "northgate", "st-anna", "lakeside"),
    ]
    assert [row.is_pooled for row in rows[:6]] == [False, False, False, False, True, True]
    assert [row.note for row in rows[-2:]] == ["before the day of its lock", "no valid reply"]
    mean = rows[5]
    assert mean.estimate.value == results.site_auc.value
    assert mean.reach == (results.site_auc.prediction_low, results.site_auc.prediction_high)
    plain = forest_rows(results, lambda measures: measures.r2, with_random_effects=False)
    assert "mean of sites" not in [row.label for row in plain]
    assert plain[1].estimate == results.validation[0].measures.r2


def test_exact_aucs_of_all_sites_are_one_row_that_is_called_their_mean(results: Results) -> None:
    rows = [
        each.model_copy(update={"release_class": "governed", "epsilon": None})
        for each in results.validation
    ]
    exact = results.model_copy(update={"validation": tuple(rows)})
    drawn = forest_rows(exact, lambda measures: measures.auc, with_random_effects=True)
    assert [row.label for row in drawn[:5]] == [
        *("Internal", "northgate", "st-anna", "lakeside", "mean of sites"),
    ]
    assert drawn[4].reach is not None
    errors = forest_rows(exact, lambda measures: measures.r2, with_random_effects=False)
    assert errors[4].label == "all sites, pooled"


def test_a_mark_lies_where_its_value_is_on_the_axis() -> None:
    row = ForestRow(label="north", estimate=measured(0.7, 0.6, 0.8))
    text = forest(row, floor=0.4)
    # the axis is 460 wide from 210 on, from 0.4 to 1: 0.7 is its middle
    assert '<rect x="435.5"' in text
    assert f'x1="{210 + 460 / 3:.1f}" x2="{210 + 460 * 2 / 3:.1f}"' in text
    assert "north: 0.70, 0.60 to 0.80" in text


def test_the_axis_starts_at_the_lowest_interval_and_never_below_its_floor() -> None:
    high = forest(ForestRow(label="a", estimate=measured(0.9, 0.85, 0.95)), floor=0.0)
    assert ">0.40</text>" in high, "a tenth below what lies five hundredths under the reference"
    low = forest(ForestRow(label="a", estimate=measured(0.1, -0.9, 0.95)), floor=-0.2)
    assert ">0.00</text>" in low
    assert "l7 -4v8Z" in low, "an interval that leaves the axis ends in an arrow"
    assert "l7 -4v8Z" not in high


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (ForestRow(label="a", estimate=SUPPRESSED), "suppressed"),
        (ForestRow(label="a", note="no valid reply"), "no valid reply"),
    ],
)
def test_a_figure_that_is_missing_is_a_word_and_no_mark(row: ForestRow, word: str) -> None:
    text = forest(row)
    assert f">{word}</text>" in text
    assert f"a: {word}" in text.split("<desc>")[1]
    assert "<rect" not in text
    assert "<path" not in text


def test_labels_cannot_carry_markup() -> None:
    assert "<b>" not in forest(ForestRow(label="<b>x", note="y"))


def test_who_took_part_is_a_cell_per_site_and_round(results: Results) -> None:
    text = draw_rounds(results)
    cells = re.findall(r'<rect [^>]*fill="(#[0-9a-f]+)"', text)
    # three training sites of fifty rounds, of which lakeside missed three
    assert len(cells) == 150
    assert cells.count(WARN) == 3
    assert cells.count(ACCENT) == 147
    assert "50 rounds, 3 sites, 3 missing totals" in text


def test_a_site_that_was_not_asked_is_neither(results: Results) -> None:
    one = results.rounds[0].model_copy(update={"asked": ("northgate",), "took_part": ()})
    cells = re.findall(
        r'<rect [^>]*fill="(#[0-9a-f]+)"', draw_rounds(results.model_copy(update={"rounds": (one,)}))
    )
    assert cells == [WARN, "#fff", "#fff"]


def test_who_sent_what_is_said_of_every_site(results: Results) -> None:
    text = draw_flow(results)
    for site in results.sites:
        assert f">{site.site}</text>" in text
    assert text.count("signed updates, tables: ") == 3
    assert "tables of sums: 1.5 kB" in text
    assert "northgate: received 6.1 MB, sent 4.3 MB" in text
    assert text.count('stroke-dasharray="5 4"') == 1


def test_a_figure_beyond_the_axis_is_an_arrow_and_no_square() -> None:
    def drawn(value: float) -> str:
        estimate = Estimate(status="measured", value=value, low=value - 0.2, high=value + 0.2)
        row = ForestRow(label="untrained", estimate=estimate)
        return draw_forest([row], title="R²", reference=0.0, reference_label="0", floor=-0.5)

    beyond, inside = drawn(-0.8), drawn(0.4)
    assert ("<rect" in beyond, "l7 -4v8Z" in beyond) == (False, True)
    assert ("<rect" in inside, "l7 -4v8Z" in inside) == (True, False)
    assert "−0.80" in beyond
