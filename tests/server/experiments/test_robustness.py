"""What bad hospitals cost: a quick seeded row measured for real, and what the bad ones send."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from server.experiments import robustness
from server.experiments.robustness import KEPT, PAGE, flipped, measure_robustness, settings_of, spoilt
from server.experiments.robustness_lines import BAD, RULES, Case, Line, read_lines
from server.simulation.arms import plan_arm
from shared.contract.stages import GradientStage

QUICK = [
    Case(n_sites=5, attack=attack, rule=rule, epsilon=None, seed=301)
    for attack, rule in (
        ("none", "fedavg"),
        ("scaled", "fedavg"),
        ("scaled", "geometric_median"),
        ("label flip", "trimmed_mean"),
    )
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Line], Path]:
    kept = tmp_path_factory.mktemp("robustness") / "lines.jsonl"
    return measure_robustness(QUICK, kept=kept, n_fresh=600), kept


def test_a_scaled_hospital_of_five_ruins_a_mean_and_not_a_geometric_median(
    quick: tuple[list[Line], Path],
) -> None:
    honest, ruined, withstood, flipped_labels = quick[0]
    assert honest.r2 > 0.1
    assert honest.auc > 0.65
    # one of five sends ten times its part: the steps of a mean are nearly three times too long
    assert ruined.r2 < honest.r2 - 0.2
    assert withstood.r2 > honest.r2 - 0.08
    assert flipped_labels.r2 > honest.r2 - 0.12
    assert withstood.kept < 0.05 < honest.kept < 0.3
    assert honest.kept == pytest.approx(120 / 600), "a mean keeps a hospital's share by size"


def test_what_was_measured_is_kept_and_not_measured_again(
    quick: tuple[list[Line], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, kept = quick
    assert read_lines(kept) == lines
    monkeypatch.setattr(robustness, "_measure", None)
    assert measure_robustness(QUICK, kept=kept, n_fresh=600) == lines


def test_the_page_and_its_lines_lie_where_they_are_looked_for() -> None:
    root = Path(__file__).resolve().parents[3]
    assert (root / KEPT).exists()
    assert (root / PAGE).exists()
    rows = [json.loads(row) for row in (root / KEPT).read_text().splitlines()]
    assert all(set(row) == {"case", "r2", "auc", "kept"} for row in rows)


@pytest.mark.parametrize(
    ("attack", "expected"),
    [("none", [3, 4]), ("label flip", [3, 4]), ("scaled", [30, 40]), ("sign flip", [-3, -4])],
)
def test_a_bad_total_is_a_multiple_of_the_honest_one(attack: str, expected: list[float]) -> None:
    sent = spoilt(np.array([3.0, 4.0]), attack, np.inf, np.random.default_rng(1))
    np.testing.assert_allclose(sent, expected)


def test_a_bad_total_is_never_beyond_its_bound() -> None:
    rng = np.random.default_rng(1)
    for attack in ("none", "scaled", "sign flip", "random"):
        sent = spoilt(np.array([3.0, 4.0], "<f4"), attack, 20.0, rng)
        assert sent.dtype == np.dtype("<f4")
        assert np.linalg.norm(sent) == pytest.approx(20.0 if attack in ("scaled", "random") else 5.0)
    free = spoilt(np.array([3.0, 4.0]), "random", np.inf, rng)
    assert np.linalg.norm(free) == pytest.approx(50.0)
    assert not spoilt(np.zeros(2), "random", np.inf, rng).any()


def test_flipped_labels_are_mirrored_about_the_public_mean() -> None:
    batch = robustness._population(5, 301)[0]
    np.testing.assert_array_equal(flipped(batch).target, -batch.target)
    np.testing.assert_array_equal(flipped(batch).fields, batch.fields)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_planned_to_withstand_as_many_as_are_bad(rule: str) -> None:
    for n_sites, bad in BAD.items():
        case = Case(n_sites=n_sites, attack="none", rule=rule, epsilon=3.0, seed=0)
        stage = plan_arm(settings_of(case), {f"site-{k}": 90 for k in range(n_sites)}, run="rob")
        assert isinstance(stage.trained, GradientStage)
        withstood = stage.trained.strategy.n_withstood(n_sites)
        assert withstood == 0 if rule == "fedavg" else withstood >= len(bad)
