"""Classes by T-score, arms, and the page of the learners' figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from server.experiments import learners
from server.experiments.learners import Measured, classes_of, write_learners
from server.federation.compose import compose_settings
from shared.features.columns import Columns, name_columns

SETTINGS = compose_settings()


def patients(n: int, seed: int) -> Columns:
    columns = name_columns(SETTINGS.cohort.fields, channels=SETTINGS.encoder.token_channels)
    draw = np.random.default_rng(seed)
    values = np.array([column.spread for column in columns]) * draw.normal(size=(n, len(columns)))
    return Columns(values, values[:, 48] - 0.8 + 0.5 * draw.normal(size=n))


def test_classes_are_cut_at_the_t_scores_of_the_schema() -> None:
    # T = (BMD − 0.858)/0.120 and z = (BMD − 0.75)/0.12, so T = z − 0.9
    z = np.array([0.0, -0.099, -0.101, -1.599, -1.601, -3.0])
    found = classes_of(Columns(np.zeros((6, 1)), z), SETTINGS)
    assert found.target.tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_do_not_depend_on_the_scale_that_the_target_is_learnt_in() -> None:
    # T = (BMD − 0.858)/0.120 and z = (BMD − 0.75)/0.24, so T = 2 z − 0.9
    settings = compose_settings(["task.target_sd=0.24"])
    z = np.array([0.0, -0.049, -0.051, -0.799, -0.801, -1.5])
    found = classes_of(Columns(np.zeros((6, 1)), z), settings)
    assert found.target.tolist() == [0, 0, 1, 1, 2, 2]


def test_every_learner_is_measured_in_every_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    population = learners._Population(
        {"small": patients(40, 1), "large": patients(90, 2)}, patients(200, 3)
    )
    monkeypatch.setattr(learners, "_draw_populations", lambda *given: [population, population])
    told: list[str] = []
    measured = learners.measure_learners(
        n_populations=2, n_evaluated=200, n_draws=1, progress=told.append
    )
    assert [found.name for found in measured] == [entry.name for entry in learners.ENTRIES]
    assert len(told) == len(measured)
    for found in measured:
        assert set(found.arms) == {"federated", "pooled", "large alone", "small alone"}
        assert all(len(values) == 4 for values in found.arms.values())
        without_noise = found.arms["federated"][-1]
        assert without_noise == pytest.approx(found.arms["pooled"][-1], abs=1e-6)
        assert without_noise[0] > (0.6 if found.figure == "AUC" else 0.1)


def test_the_error_of_a_figure_is_that_of_its_mean_over_populations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [0.6, 0.7, 0.8, 0.9]
    populations = [
        learners._Population(
            {"small": patients(4, 1), "large": patients(9, 2)}, Columns(np.zeros((1, 1)), [value])
        )
        for value in values
    ]
    monkeypatch.setattr(learners, "_figure", lambda *given: float(given[-1].target[0]))
    found = learners._measure(learners.ENTRIES[0], SETTINGS, populations, n_draws=3)
    expected = (np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5)
    for arm in found.arms.values():
        for figure in arm:
            assert figure == pytest.approx(expected)


def test_the_page_holds_each_figure_with_its_error(tmp_path: Path) -> None:
    found = Measured(
        name="oracle",
        figure="AUC",
        arms={"federated": [(0.8, 0.01), (0.81, 0.02), (0.82, 0.03), (0.83, 0.04)]},
    )
    text = write_learners([found], root=tmp_path).read_text()
    row = "| 0.800 ± 0.010 | 0.810 ± 0.020 | 0.820 ± 0.030 | 0.830 ± 0.040 |"
    assert f"| oracle | AUC | federated {row}" in text
