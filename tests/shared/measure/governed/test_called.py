"""Statistics by a plan's decision: who has the endpoint, who is called, which side is ill."""

from __future__ import annotations

import numpy as np
import pytest

from shared.contract.decision import Decision
from shared.measure.governed.called import statistics_of
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics

LOW = Decision(classes=("low", "high"), endpoint=0, label_cuts=(3.0,), output_cuts=(3.5,))
HIGH = LOW.model_copy(update={"endpoint": 1})
NUMBERS = StatisticsSpec(is_regression=True, unit_range=4.0, error_high=2.0)
THREE = Decision(classes=("early", "middle", "late"), endpoint=2, output_cuts=(0.5,))
CLASSES = StatisticsSpec(is_regression=False, others=("early", "middle"))


@pytest.mark.parametrize("rule", [LOW, HIGH])
def test_a_number_is_suspicious_on_the_endpoints_side_and_called_at_its_cut(rule: Decision) -> None:
    draw = np.random.default_rng(2)
    label = draw.normal(3, 1, 80)
    output = label + draw.normal(0, 0.5, 80)
    is_low = rule is LOW
    expected = measure_statistics(
        NUMBERS,
        suspicion=-output if is_low else output,
        is_positive=label <= 3.0 if is_low else label >= 3.0,
        is_called=output <= 3.5 if is_low else output >= 3.5,
        target=label,
        prediction=output,
    )
    found = statistics_of(NUMBERS, rule, outputs=output[:, None], label=label)
    np.testing.assert_array_equal(found, expected)
    assert NUMBERS.named(found)["auc"] > 0.8


def test_each_other_class_is_called_rightly_by_its_likeliest_and_who_cannot_be_read_wrongly() -> None:
    outputs = np.array(
        [
            [0.6, 0.4, 0.0],
            [0.3, 0.6, 0.1],
            [np.nan] * 3,
            [0.1, 0.8, 0.1],
            [0.2, 0.3, 0.5],
            [0.4, 0.4, 0.2],
        ]
    )
    label = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 2.0])
    named = CLASSES.named(statistics_of(CLASSES, THREE, outputs=outputs, label=label))
    assert (named["n"], named["n_positive"]) == (6, 2)
    assert (named["n, early"], named["n, middle"]) == (3, 1)
    assert named["sensitivity, early"] == pytest.approx(1 / 3)
    assert (named["sensitivity, middle"], named["sensitivity"]) == (1.0, 0.5)


def test_who_cannot_be_read_is_called_alike_by_statistics_and_by_a_reading() -> None:
    rule = THREE.model_copy(update={"endpoint": 1})
    spec = StatisticsSpec(is_regression=False, others=("early", "late"))
    outputs = np.array([[0.2, 0.7, np.nan], [0.2, 0.7, 0.1]])
    named = spec.named(statistics_of(spec, rule, outputs=outputs, label=np.ones(2)))
    assert named["sensitivity"] == (rule.call(outputs) == 1).mean() == 0.5
