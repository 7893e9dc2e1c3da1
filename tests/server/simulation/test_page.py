"""The page of arms: every figure and difference, what is exact, what is missing, no request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.simulation.comparison import Comparison, Difference, Division, Figure, PublishedRule
from server.simulation.page import (
    difference_table,
    render_comparison,
    spread_table,
    tables_for_terminal,
    write_comparison,
)

ARMS = {
    "federated": 0.71,
    "pooled": 0.75,
    "ash alone": 0.52,
    "clinical only": 0.6,
    "untrained": 0.5,
}


def division(number: int, *, shift: float = 0.0) -> Division:
    figures, differences = [], []
    for place in ("internal", "hop"):
        for name in ("R²", "MAE", "AUC"):
            is_absent = (place, name) == ("hop", "AUC")
            for arm, value in ARMS.items():
                at = {"value": value + shift, "low": value - 0.1, "high": value + 0.1}
                figures.append(Figure(place=place, arm=arm, figure=name, **({} if is_absent else at)))
            for arm in list(ARMS)[1:]:
                gap = ARMS["federated"] - ARMS[arm] + shift
                at = {"value": gap, "low": gap - 0.05, "high": gap + 0.05}
                differences.append(
                    Difference(place=place, against=arm, figure=name, **({} if is_absent else at))
                )
    return Division(
        number=number,
        training={"ash": 70, "elm": 90},
        patients={"internal": 66, "hop": 40},
        figures=tuple(figures),
        differences=tuple(differences),
    )


def comparison(*divisions: Division, epsilon: float | None = 1.0) -> Comparison:
    return Comparison(
        run="simulation",
        is_regression=True,
        endpoint="low capacity (capacity ≤ 3 l)",
        target="capacity",
        unit="l",
        training_epsilon=epsilon,
        divisions=divisions,
    )


def test_every_arm_and_difference_is_in_the_tables_with_its_interval() -> None:
    figures, differences, _, of_hop = tables_for_terminal(comparison(division(1)))
    assert figures.columns == ("arm", "trained on", "R²", "MAE [l]", "AUC")
    assert figures.rows[0][:3] == ("federated", "160", "0.71 (0.61 to 0.81)")
    assert figures.rows[2][:2] == ("ash alone", "70")
    assert [row[1] for row in figures.rows[3:]] == ["160", "0"], "clinical only, untrained"
    assert figures.is_ours == (True, False, False, False, False)
    assert differences.rows[1][:2] == ("federated − ash alone", "+0.190 (0.140 to 0.240)")
    assert differences.rows[0][1] == "−0.040 (−0.090 to 0.010)"
    assert [row[-1] for row in of_hop.rows] == ["NA"] * 4


def test_a_difference_is_shown_with_its_adjusted_p() -> None:
    rows = tuple(
        row.model_copy(update={"p": 0.01, "p_adjusted": 0.0004 if row.figure == "R²" else 0.04})
        for row in division(1).differences
    )
    with_p = comparison(division(1).model_copy(update={"differences": rows}))
    table = difference_table(with_p, "internal")
    assert table.title.endswith("p by Holm over a column")
    assert table.rows[0][1:3] == (
        "−0.040 (−0.090 to 0.010), p < 0.001",
        "−0.0400 (−0.0900 to 0.0100), p = 0.040",
    )
    assert "p adjusted by Holm over the column" in render_comparison(with_p)


def test_the_page_says_that_it_is_simulated_and_makes_no_request() -> None:
    page = render_comparison(comparison(division(1)))
    assert "<strong>Simulated.</strong>" in page
    assert "training ε = 1.00 of every arm" in page
    assert "--repeats shows that" in page
    assert "what films add is the difference to it" in page
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org)|url\(", page)
    assert "no formal privacy guarantee" in render_comparison(comparison(division(1), epsilon=None))


def test_the_spread_is_shown_where_there_are_divisions() -> None:
    alone, both = comparison(division(1)), comparison(division(1), division(2, shift=0.02))
    assert spread_table(alone, "internal") is None
    table = spread_table(both, "internal")
    assert table is not None
    assert table.rows[0] == ("federated", "0.72 ± 0.01", "0.720 ± 0.014", "0.72 ± 0.01")
    assert table.rows[6][:2] == ("federated − ash alone", "+0.20 ± 0.01")
    page = render_comparison(both)
    assert "Mean ± SD of 2 divisions." in page
    assert "--repeats shows that" not in page


def test_page_and_data_are_written_and_read_back(tmp_path: Path) -> None:
    page, data = write_comparison(tmp_path, comparison(division(1)))
    assert (page.name, data.name) == ("comparison.html", "comparison.json")
    assert Comparison.model_validate_json(data.read_bytes()) == comparison(division(1))


def test_a_text_of_the_cohort_cannot_become_markup() -> None:
    wild = comparison(division(1)).model_copy(update={"endpoint": "<script>x</script>"})
    assert "<script>" not in render_comparison(wild)


@pytest.mark.parametrize("place", ["internal", "hop"])
def test_a_difference_table_has_no_row_of_the_federation_with_itself(place: str) -> None:
    rows = difference_table(comparison(division(1)), place).rows
    assert [row[0] for row in rows] == [f"federated − {arm}" for arm in list(ARMS)[1:]]


def test_a_published_rule_is_told_with_its_formula_and_whom_it_can_read() -> None:
    rule = PublishedRule(
        name="OST", formula="0.2·weight − 0.2·age", patients={"internal": 60, "hop": 31}
    )
    plain = division(1)
    figures = [
        Figure(place=place, arm="OST", figure=name, value=0.6 if name == "AUC" else None)
        for place in plain.patients
        for name in ("R²", "MAE", "AUC")
    ]
    beside = plain.model_copy(update={"figures": (*plain.figures, *figures), "rule": rule})
    page = render_comparison(comparison(beside))
    assert "is a published rule, 0.2·weight − 0.2·age, and no model" in page
    assert "(internal 60, hop 31)" in page
    assert "published rule" not in render_comparison(comparison(plain))
    table = tables_for_terminal(comparison(beside))[0]
    [row] = [row for row in table.rows if row[0] == "OST"]
    assert (row[1], row[2], row[-1]) == ("0", "NA", "0.60"), "trained on nobody, predicts no number"
    forest = page[page.index("<svg") : page.index("</svg>")]
    assert "pooled" in forest
    assert "OST" not in forest, "the forest is of R², which a rule has not"
