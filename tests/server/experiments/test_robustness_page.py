"""The page of bad hospitals is what its lines make of it; means and intervals are by hand."""

from __future__ import annotations

import math

import pytest

from server.experiments.robustness_lines import Line, list_cases
from server.experiments.robustness_page import mean_and_half, robustness_page


def test_the_interval_is_student_s() -> None:
    # SD 0.1 of three, t(0.975; 2) = 4.302653: 4.302653 · 0.1 / √3
    mean, half = mean_and_half([0.1, 0.2, 0.3])
    assert (mean, half) == pytest.approx((0.2, 0.2484139), rel=1e-6)
    assert math.isnan(mean_and_half([0.5])[1])


def test_every_number_of_hospitals_and_epsilon_has_its_table() -> None:
    lines = [
        Line(case=case, r2=0.1 * (case.rule == "median") + 0.01 * case.seed, auc=0.7, kept=0.25)
        for case in list_cases(seeds=(1, 3))
    ]
    page = robustness_page(lines, n_fresh=900)
    assert [row for row in page.splitlines() if row.startswith("## ")] == [
        f"## {bad} hospitals bad, {privacy}"
        for bad in ("1 of 5", "2 of 7")
        for privacy in ("privacy off", "ε 3")
    ]
    # 0.01 and 0.03: mean 0.02, SD 0.0141421, t(0.975; 1) = 12.7062
    row = next(row for row in page.splitlines() if row.startswith("| scaled | R²"))
    cells = row.split(" | ")
    assert cells[1] == "R² 0.020 ± 0.127; AUC 0.700 ± 0.000; kept 0.25"
    assert cells[2].startswith("R² 0.120 ± 0.127")
    assert "900 fresh patients" in page
    assert "populations 1, 3" in page
    assert "60, 90, 120, 150, 180" in page
