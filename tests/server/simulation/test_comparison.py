"""Arms on the same patients: figures by hand, paired differences, figures that do not exist."""

from __future__ import annotations

import numpy as np
import pytest

from server.simulation.comparison import (
    Comparison,
    Difference,
    Division,
    Figure,
    measure_place,
)
from shared.contract.decision import Decision
from shared.measure.exact.discrimination import delong
from shared.measures.scored import Scored

LOW = Decision(classes=("low", "high"), endpoint=0, label_cuts=(3.0,), output_cuts=(3.0,))
THREE = Decision(classes=("early", "middle", "late"), endpoint=2, output_cuts=(0.5,))
ARMS = ("federated", "pooled", "ash alone")


def scored(outputs: np.ndarray, label: np.ndarray) -> Scored:
    nobody = ((),) * len(label)
    return Scored(outputs, label, np.zeros((len(label), 0)), nobody)


def numbers(noise: dict[str, float], n: int = 200) -> dict[str, Scored]:
    """Arms that read the same truth with errors of these SDs."""
    rng = np.random.default_rng(5)
    label = rng.normal(3, 1, n)
    return {arm: scored((label + rng.normal(0, sd, n))[:, None], label) for arm, sd in noise.items()}


def pick(rows: list[Figure] | list[Difference], **wanted: str):
    [found] = [
        row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())
    ]
    return found


def test_figures_of_a_number_are_those_of_the_formulas() -> None:
    arms = numbers({"federated": 0.5, "pooled": 0.4, "ash alone": 2.0})
    figures, differences = measure_place("internal", arms, LOW)
    for arm, each in arms.items():
        error = each.outputs[:, 0] - each.label
        r2 = 1 - (error**2).mean() / each.label.var()
        assert pick(figures, arm=arm, figure="R²").value == pytest.approx(r2)
        assert pick(figures, arm=arm, figure="MAE").value == pytest.approx(np.abs(error).mean())
        below, above = each.outputs[each.label <= 3, 0], each.outputs[each.label > 3, 0]
        auc = (below[:, None] < above[None]).mean()
        found = pick(figures, arm=arm, figure="AUC")
        assert found.value == pytest.approx(auc)
        assert found.low < auc < found.high
    [ours, other] = [pick(figures, arm=arm, figure="R²").value for arm in ("federated", "ash alone")]
    difference = pick(differences, against="ash alone", figure="R²")
    assert difference.value == pytest.approx(ours - other)
    assert 0 < difference.low < difference.value < difference.high


def test_a_difference_is_paired_so_two_arms_that_err_alike_are_told_apart() -> None:
    arms = numbers({"federated": 0.9, "ash alone": 0.9})
    label = arms["federated"].label
    worse = arms["federated"].outputs + 0.1 * np.sign(arms["federated"].outputs - label[:, None])
    arms["ash alone"] = scored(worse, label)
    figures, differences = measure_place("internal", arms, LOW)
    mae = [pick(figures, arm=arm, figure="MAE") for arm in arms]
    assert mae[0].high > mae[1].low  # the intervals of the two overlap
    paired = pick(differences, figure="MAE")
    assert paired.value == pytest.approx(-0.1)
    assert (paired.low, paired.high) == (pytest.approx(-0.1), pytest.approx(-0.1))


def test_a_difference_of_aucs_has_delongs_variance() -> None:
    arms = numbers({"federated": 0.6, "ash alone": 1.5})
    _, differences = measure_place("internal", arms, LOW)
    scores = np.stack([-each.outputs[:, 0] for each in arms.values()])
    aucs, c = delong(scores, arms["federated"].label <= 3)
    margin = 1.959964 * (c[0, 0] + c[1, 1] - 2 * c[0, 1]) ** 0.5
    found = pick(differences, figure="AUC")
    assert found.value == pytest.approx(aucs[0] - aucs[1])
    assert (found.low, found.high) == (
        pytest.approx(found.value - margin),
        pytest.approx(found.value + margin),
    )


def test_p_is_adjusted_over_the_arms_of_a_figure_by_holm() -> None:
    arms = numbers({"federated": 0.5, "pooled": 0.5, "ash alone": 0.56, "untrained": 3.0})
    _, differences = measure_place("internal", arms, LOW)
    for name in ("R²", "MAE", "AUC"):
        found = [row for row in differences if row.figure == name]
        assert len(found) == 3
        smallest, middle, largest = sorted(found, key=lambda row: row.p)
        assert smallest.p_adjusted == pytest.approx(min(1, 3 * smallest.p))
        assert middle.p_adjusted == pytest.approx(min(1, max(3 * smallest.p, 2 * middle.p)))
        assert largest.p_adjusted == pytest.approx(max(middle.p_adjusted, largest.p))
        assert smallest.against == "untrained"
        assert smallest.p_adjusted < 0.05 < largest.p_adjusted


def test_p_agrees_with_the_interval_that_holds_0_or_does_not() -> None:
    noise = {f"{sd:g} alone": sd for sd in (0.5, 0.55, 0.6, 0.65, 0.7, 1.0)}
    _, differences = measure_place("internal", numbers({"federated": 0.6, **noise}), LOW)
    told = [(row.low <= 0 <= row.high, row.p > 0.05) for row in differences]
    assert all(holds == is_large for holds, is_large in told)
    assert len(set(told)) == 2, "both cases are met"


def test_an_auc_that_cannot_vary_has_no_p() -> None:
    label = np.array([1.0, 2.0, 4.0, 5.0])
    arms = {"federated": scored(label[:, None], label), "untrained": scored(np.zeros((4, 1)), label)}
    _, differences = measure_place("internal", arms, LOW)
    found = pick(differences, figure="AUC")
    assert (found.value, found.p, found.p_adjusted) == (0.5, None, None)


def test_classes_are_called_by_the_rule_that_validates_them() -> None:
    outputs = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.1, 0.5, 0.4]])
    label = np.array([0.0, 1.0, 2.0, 2.0])
    arms = {arm: scored(outputs, label) for arm in ARMS}
    figures, _ = measure_place("east", arms, THREE)
    assert pick(figures, arm="pooled", figure="accuracy").value == 0.75
    perfect = pick(figures, arm="pooled", figure="AUC")
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low < 0.7, "two ill and two others show little, though all are ranked rightly"
    of_classes = {"AUC, early", "AUC, middle", "AUC, late"}
    assert {row.figure for row in figures} == {"AUC", "accuracy", "macro AUC", *of_classes}


def test_each_of_three_classes_has_an_auc_against_the_others_and_their_mean_has_a_paired_interval() -> (
    None
):
    rng = np.random.default_rng(7)
    label = rng.integers(0, 3, 400).astype(float)
    hot = np.eye(3)[label.astype(int)]
    arms = {
        arm: scored(np.exp(hot + sd * rng.normal(size=(400, 3))), label)
        for arm, sd in (("federated", 0.8), ("pooled", 0.8), ("ash alone", 2.5))
    }
    figures, differences = measure_place("internal", arms, THREE)
    for arm, each in arms.items():
        aucs = []
        for place, name in enumerate(THREE.classes):
            above, below = each.outputs[label == place, place], each.outputs[label != place, place]
            aucs.append((above[:, None] > below[None]).mean())
            assert pick(figures, arm=arm, figure=f"AUC, {name}").value == pytest.approx(aucs[-1])
        assert pick(figures, arm=arm, figure="macro AUC").value == pytest.approx(np.mean(aucs))
    # of one class the interval is DeLong's
    found = pick(figures, arm="federated", figure="AUC, late")
    _, covariance = delong(arms["federated"].outputs[None, :, 2], label == 2)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * covariance[0, 0] ** 0.5)
    # parts of classes go together in a patient: the mean's interval is that of a bootstrap of patients
    drawn = []
    for _ in range(300):
        at = rng.integers(0, 400, 400)
        values = []
        for arm in ("federated", "ash alone"):
            outputs = arms[arm].outputs[at]
            values.append(
                np.mean([delong(outputs[None, :, k], label[at] == k)[0][0] for k in range(3)])
            )
        drawn.append(values[0] - values[1])
    paired = pick(differences, against="ash alone", figure="macro AUC")
    assert (paired.high - paired.low) / (2 * 1.959964) == pytest.approx(np.std(drawn), rel=0.2)
    assert paired.low > 0


def test_a_figure_that_does_not_exist_has_no_value_and_hides_no_other() -> None:
    label = np.array([4.0, 5.0, 6.0])  # nobody has the endpoint
    arms = {arm: scored(label[:, None] + 0.5, label) for arm in ARMS}
    figures, differences = measure_place("east", arms, LOW)
    assert all(row.value is None for row in (*figures, *differences) if row.figure == "AUC")
    assert pick(figures, arm="pooled", figure="MAE").value == pytest.approx(0.5)
    nobody = {arm: scored(np.zeros((0, 1)), np.zeros(0)) for arm in ARMS}
    assert all(row.value is None for row in measure_place("east", nobody, LOW)[0])


def division(number: int, value: float | None) -> Division:
    place = {"place": "internal", "figure": "AUC"}
    return Division(
        number=number,
        training={"ash": 70},
        patients={"internal": 30},
        figures=(Figure(**place, arm="federated", value=value),),
        differences=(Difference(**place, against="pooled", value=value),),
    )


def test_the_spread_is_the_mean_and_sd_over_divisions_that_have_the_figure() -> None:
    def over(*values: float | None):
        divisions = tuple(division(number, value) for number, value in enumerate(values, start=1))
        facts = {"run": "r", "endpoint": "e", "target": "t", "unit": "", "training_epsilon": None}
        return Comparison(**facts, is_regression=False, divisions=divisions).spread()

    assert over(0.7) == ()
    arm, difference = over(0.7, None, 0.9)
    assert (arm.mean, arm.n, arm.against) == (pytest.approx(0.8), 2, "")
    assert arm.sd == pytest.approx(0.2 / 2**0.5)
    assert (difference.against, difference.arm) == ("pooled", "federated")
