"""What the page says of where models look: what was expected, and whether it was so."""

from __future__ import annotations

import pytest
from practice_experiments import looked_outcome, looks

from server.experiments.looks_page import apart, looks_section, shortcut_section
from server.experiments.looks_plot import mean_of
from server.experiments.outcome import Outcome

ALONE, TOGETHER = "alone: larch", "federated"


def leaking(**inside: float) -> Outcome:
    figures = {"auc": 0.95, "delta": 0.0, "iou": 0.01} | inside
    return looked_outcome(
        "leaking",
        looks(ALONE, "larch", **figures) | looks(ALONE, "external", auc=0.60, delta=0.1, iou=0.0),
    )


CLEAN = looked_outcome(
    "clean",
    looks(ALONE, "larch", auc=0.75, delta=0.12, iou=0.09)
    | looks(ALONE, "external", auc=0.74, delta=0.11, iou=0.08),
)


def test_a_shortcut_is_told_where_it_came_out_so() -> None:
    text = "\n".join(shortcut_section(leaking(), CLEAN))
    assert text.count("so it is") == 4
    assert "not so here" not in text
    assert "- AUC falls outside: so it is, 0.350 (0.293 to 0.407)." in text
    assert "- Of clean films AUC falls outside by 0.010 (−0.047 to 0.067)." in text
    assert "- Of clean films Δ bone − Δ random is 0.120 (0.080 to 0.160)." in text
    assert "| marker leaks | probe | alone: larch | larch | 0.950 (0.910 to 0.990) |" in text
    assert "| clean | probe | alone: larch | external | 0.740 (0.700 to 0.780) |" in text


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ({"auc": 0.76}, "AUC inside is above that of clean films: **not told**, 0.0"),
        ({"auc": 0.61}, "AUC inside is above that of clean films: **not so here**, −0."),
        ({"auc": 0.61}, "AUC falls outside: **not told**, 0.0"),
        ({"delta": 0.2}, "Δ bone − Δ random is about 0 inside: **not so here**, 0.2"),
        (
            {"delta": 0.03},
            "Δ bone − Δ random is about 0 inside: **not told**, as its interval is",
        ),
        ({"iou": -0.1}, "IoU is chance inside: **not so here**, −0.1"),
    ],
)
def test_what_came_out_otherwise_is_said(inside: dict[str, float], expected: str) -> None:
    text = "\n".join(shortcut_section(leaking(**inside), CLEAN))
    assert f"- {expected}" in text


def test_without_the_clean_outcome_nothing_is_compared() -> None:
    lines = shortcut_section(leaking(), None)
    assert len(lines) == 4
    assert "clean" not in "".join(lines)


def test_where_nobody_was_asked_where_it_looks_there_is_no_section() -> None:
    assert looks_section(looked_outcome("plain", {("probe", TOGETHER, "external", "AUC"): 0.8})) == []
    lines = looks_section(CLEAN)
    assert "| probe | alone: larch | larch | 0.750 (0.710 to 0.790) |" in "\n".join(lines)
    assert lines[-1] == "Δ bone − Δ random is told above 0 in 2 of 2 lines."
    blind = looked_outcome("blind", looks(ALONE, "external", auc=0.7, delta=0.0, iou=0.0))
    assert looks_section(blind)[-1].endswith("in 0 of 1 lines: **no arm is seen to use bone here.**")


def test_errors_of_different_patients_are_added() -> None:
    first, second = (
        mean_of(CLEAN, training=ALONE, place=place, figure="AUC") for place in ("larch", "external")
    )
    found = apart(first, second)
    assert found is not None
    assert found.value == pytest.approx(0.01)
    assert found.high - found.value == pytest.approx(0.04 * 2**0.5)
    assert found.by_seed == pytest.approx((0.01,))
    assert apart(first, None) is None
