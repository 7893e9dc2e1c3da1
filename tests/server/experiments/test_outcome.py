"""Means over populations, and arms compared on the same patients."""

from __future__ import annotations

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from practice_experiments import FEW, SEEDS, TWO, keep_invented

from server.experiments.harness import LINES, models_of
from server.experiments.outcome import Mean, mean_of_hospitals, mean_over, outcome_of
from server.experiments.populations import EIGHT_TABLES
from server.experiments.system import leave_one_out
from server.simulation.comparison import Figure
from shared.errors import RunError
from shared.measures.differences import adjust_by_holm

Z = 1.959963984540054


def figure(value: float | None, margin: float = 0.0) -> Figure:
    low, high = (None, None) if value is None else (value - margin, value + margin)
    return Figure(place="internal", arm="any", figure="R²", value=value, low=low, high=high)


def test_the_interval_of_a_mean_adds_the_errors_of_its_populations() -> None:
    found = mean_over([figure(0.5, 0.06), figure(0.7, 0.08)])
    assert found is not None
    assert found.value == pytest.approx(0.6)
    assert found.high - found.value == pytest.approx(sqrt(0.06**2 + 0.08**2) / 2)
    assert found.standard_error == pytest.approx(sqrt(0.06**2 + 0.08**2) / 2 / Z)
    assert found.by_seed == (0.5, 0.7)


def test_a_figure_that_one_population_lacks_has_no_mean() -> None:
    assert mean_over([figure(0.5, 0.1), figure(None)]) is None
    assert mean_over([]) is None


def test_hospitals_count_alike_in_their_mean() -> None:
    means = [
        Mean(value=value, low=value - 0.1, high=value + 0.1, by_seed=(value, value + 1))
        for value in (0.0, 0.2, 0.4)
    ]
    found = mean_of_hospitals(means)
    assert found.value == pytest.approx(0.2)
    assert found.high - found.low == pytest.approx(0.2 / sqrt(3))
    assert found.by_seed == pytest.approx((0.2, 1.2))


def test_a_difference_is_that_of_the_means_and_is_paired_on_the_same_patients(tmp_path: Path) -> None:
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06})
    outcome = outcome_of(TWO, FEW, SEEDS, kept)
    value = {
        (row.arm, row.kind, row.place, row.figure): row.mean
        for row in outcome.rows
        if row.mean is not None
    }
    ablations = [each for each in outcome.compared if each.kind]
    assert len(ablations) == 3 * 3 * 2
    for each in ablations:
        first, second = (
            value[arm, each.kind, each.place, each.figure] for arm in (each.first, each.second)
        )
        assert each.mean is not None
        assert each.mean.value == pytest.approx(first.value - second.value)
        assert each.mean.low > 0, "the same people with the same errors, but larger"
        # unpaired, the two intervals would lie in each other
        assert first.low < second.high
    assert outcome.patients == {place: 2 * 120 for place in ("internal", "external", "prospective")}


def test_only_the_figures_of_the_system_are_kept(tmp_path: Path) -> None:
    one = replace(TWO, figures=("AUC",))
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06}, system=one)
    outcome = outcome_of(one, FEW, SEEDS, kept)
    assert {row.figure for row in (*outcome.rows, *outcome.compared)} == {"AUC"}


def test_all_differences_by_one_figure_are_adjusted_together(tmp_path: Path) -> None:
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.051}, alone={"birch": 0.2})
    outcome = outcome_of(TWO, FEW, SEEDS, kept)
    for name in TWO.figures:
        tested = [each for each in outcome.compared if each.figure == name and each.p is not None]
        assert [each.p_adjusted for each in tested] == pytest.approx(
            adjust_by_holm([each.p for each in tested])
        )
        assert max(np.array([each.p_adjusted for each in tested]) - [each.p for each in tested]) > 0


def test_the_federation_is_compared_with_each_hospital_that_it_leaves_out(tmp_path: Path) -> None:
    eight = replace(TWO, population=EIGHT_TABLES, arms=TWO.arms[:1], ablations=(), design=leave_one_out)
    kept = keep_invented(tmp_path, {"descent": 0.05}, system=eight, alone={"maple": 0.1})
    outcome = outcome_of(eight, FEW, SEEDS, kept)
    alone, pooled, federated, local = (
        "alone, no privacy: {}",
        "pooled, no privacy, without {}",
        "federated, without {}",
        "federated + local: {}",
    )
    assert {(each.place, each.first, each.second) for each in outcome.compared} == {
        (site, first.format(site), second.format(site))
        for site in EIGHT_TABLES.training
        for first, others in ((federated, (alone, pooled)), (local, (alone, pooled, federated)))
        for second in others
    }
    [maple] = [
        each.mean
        for each in outcome.compared
        if (each.place, each.figure) == ("maple", "R²")
        and each.first.startswith("federated, without")
        and each.second.startswith("alone")
    ]
    assert maple.low > 0


def test_what_is_not_measured_yet_is_counted(tmp_path: Path) -> None:
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06})
    path = tmp_path / LINES
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    n_models = len(list(models_of(TWO, FEW, SEEDS)))
    with pytest.raises(RunError, match=f"2 of {n_models} models are not measured") as caught:
        outcome_of(TWO, FEW, SEEDS, kept)
    assert caught.value.code == "run.experiments-unfinished"


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06})
    outcome = outcome_of(TWO, FEW, SEEDS, kept)
    assert type(outcome).model_validate(json.loads(outcome.model_dump_json())) == outcome
