"""One rule from a label and from an output to a class, by hand and at its edges."""

from __future__ import annotations

import numpy as np
import pytest

from server.federation.compose import compose_settings
from shared.contract.decision import Decision, decision_of
from shared.contract.model_settings import ClassificationTask
from shared.errors import OsteoFedError, ProtocolError, SettingsError

GRADED = Decision(
    classes=("osteoporosis", "osteopenia", "normal"),
    endpoint=0,
    label_cuts=(0.558, 0.738),
    output_cuts=(0.6, 0.74),
)
CLASSES = Decision(classes=("normal", "wedge", "crush"), endpoint=2, output_cuts=(0.3,))


# The same people by a number of which a high one is bad: everything is mirrored at 0.
MIRRORED = Decision(
    classes=("normal", "osteopenia", "osteoporosis"),
    endpoint=2,
    label_cuts=(-0.738, -0.558),
    output_cuts=(-0.74, -0.6),
)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_a_value_on_a_cut_is_of_the_severer_class_even_after_single_precision() -> None:
    labels = np.array([0.558, float(np.float32(0.558)), 0.5581, 0.738, 0.739, np.nan])
    assert GRADED.class_of(labels).tolist() == [0, 0, 1, 1, 2, -1]
    assert GRADED.is_positive(labels).tolist() == [True, True, False, False, False, False]


def test_an_output_is_called_at_the_outputs_own_cuts() -> None:
    outputs = column(0.558, 0.6, 0.601, 0.74, 0.75, np.nan)
    assert GRADED.call(outputs).tolist() == [0, 0, 1, 1, 2, 2]
    assert GRADED.score(outputs)[:2].tolist() == [0.558, 0.6]
    assert GRADED.operating_point == 0.6
    assert GRADED.in_words("g/cm2") == "osteoporosis at ≤ 0.6 g/cm2"


def test_who_is_scored_on_the_operating_point_is_called_and_who_has_no_number_is_not() -> None:
    on_cut = np.array([[0.701, 0.0, 0.299], [0.7, 0.0, 0.3], [0.699, 0.0, 0.301], [0.7, 0.0, np.nan]])
    assert (CLASSES.call(on_cut) == CLASSES.endpoint).tolist() == [False, True, True, False]
    # a middle endpoint whose own probability would call it, beside one that is no number
    middle = CLASSES.model_copy(update={"endpoint": 1})
    assert middle.call(np.array([[0.2, 0.7, np.nan]])).tolist() == [2]


@pytest.mark.parametrize("value", [0.6, 0.74, 0.3, np.float32(0.6), np.float32(0.3)])
def test_an_output_of_single_precision_is_called_as_the_same_number_of_double_precision(
    value: float,
) -> None:
    single = np.array([[value]], dtype=np.float32)
    for decision in (GRADED, MIRRORED):
        sign = 1 if decision is GRADED else -1
        assert decision.call(sign * single) == decision.call(sign * single.astype(np.float64))
    shares = np.array([[1 - value, 0.0, value]], dtype=np.float32)
    assert CLASSES.call(shares) == CLASSES.call(shares.astype(np.float64))


def test_the_endpoint_is_called_from_its_probability_on_and_else_the_likeliest_other() -> None:
    outputs = np.array(
        [[0.6, 0.1, 0.3], [0.5, 0.21, 0.29], [0.2, 0.55, 0.25], [0.1, 0.1, 0.8], [np.nan] * 3]
    )
    assert CLASSES.call(outputs).tolist() == [2, 0, 1, 2, 0]
    np.testing.assert_array_equal(CLASSES.score(outputs), outputs[:, 2])
    labels = np.array([0.0, 2.0, np.nan, 3.0, -1.0, 1.5, 1e300, -np.inf])
    assert CLASSES.class_of(labels).tolist() == [0, 2, -1, -1, -1, -1, -1, -1]
    assert CLASSES.in_words() == "crush at ≥ 0.3, else the likeliest of the others"
    two = Decision(classes=("well", "ill"), endpoint=1, output_cuts=(0.3,))
    assert two.in_words() == "ill at ≥ 0.3"


def test_the_likeliest_class_is_told_apart_from_the_called_one() -> None:
    outputs = np.array([[0.6, 0.1, 0.3], [0.2, 0.55, 0.25], [0.1, 0.1, 0.8]])
    assert CLASSES.likeliest(outputs).tolist() == [0, 1, 2]
    assert CLASSES.call(outputs).tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("decision", "outputs"),
    [(GRADED, np.zeros((2, 3))), (CLASSES, np.zeros((2, 1))), (GRADED, np.zeros(2))],
)
def test_outputs_of_another_model_are_refused(decision: Decision, outputs: np.ndarray) -> None:
    with pytest.raises(ProtocolError, match="a decision takes"):
        decision.call(outputs)


def test_the_shipped_rule_is_the_tasks_and_the_labels_own() -> None:
    settings = compose_settings()
    decision, label = decision_of(settings), settings.cohort.label
    assert settings.task.kind == "regression"
    assert label.kind == "bmd"
    mean, sd = label.reference_mean, label.reference_sd
    by_t_score = sorted(mean + t * sd for t in label.class_t_scores)
    np.testing.assert_allclose(decision.label_cuts, by_t_score, atol=1e-9)
    assert decision.classes == tuple(reversed(label.classes))
    assert decision.output_cuts[0] == settings.task.operating_point
    classes = decision_of(compose_settings(["experiment=bmd_classes"]))
    assert classes.classes[classes.endpoint] == "osteoporosis"
    assert not classes.is_regression


def test_a_class_that_the_label_has_not_is_refused() -> None:
    settings = compose_settings(["experiment=bmd_classes"])
    task = ClassificationTask(endpoint="x", positive_class="x")
    with pytest.raises(SettingsError, match="positive_class must be one of"):
        decision_of(settings.model_copy(update={"task": task}))


@pytest.mark.parametrize(
    "grade",
    [
        "{name: osteopenia, threshold: 0.5, operating_point: 0.74}",
        "{name: osteopenia, threshold: 0.738, operating_point: 0.6}",
        "{name: osteoporosis, threshold: 0.738, operating_point: 0.74}",
    ],
)
def test_grades_that_do_not_rise_or_share_a_name_are_refused(grade: str) -> None:
    with pytest.raises(OsteoFedError, match="grades"):
        compose_settings([f"task.grades=[{grade}]"])


def test_an_endpoint_above_its_cut_is_the_mirror_of_one_below() -> None:
    labels = np.array([0.558, 0.5581, 0.738, 0.739, 0.0, np.nan])
    assert MIRRORED.class_of(-labels).tolist() == [2, 1, 1, 0, 2, -1]
    assert (MIRRORED.is_positive(-labels) == GRADED.is_positive(labels)).all()
    outputs = column(0.558, 0.6, 0.601, 0.74, 0.75, np.nan)
    assert (MIRRORED.call(-outputs) == 2 - GRADED.call(outputs)).all()
    assert MIRRORED.operating_point == -0.6
    assert MIRRORED.in_words("mg") == "osteoporosis at ≥ -0.6 mg"
    assert (GRADED.is_low_positive, MIRRORED.is_low_positive, CLASSES.is_low_positive) == (
        True,
        False,
        False,
    )


ABOVE = (
    *("task.endpoint_side=above", "task.endpoint=dense", "task.endpoint_threshold=0.9"),
    *("task.operating_point=0.7", "task.otherwise=thin"),
)


def test_grades_of_an_endpoint_above_lead_downwards() -> None:
    grade = "task.grades=[{name: middling, threshold: 0.8, operating_point: 0.65}]"
    decision = decision_of(compose_settings([*ABOVE, grade]))
    assert decision.classes == ("thin", "middling", "dense")
    assert (decision.label_cuts, decision.output_cuts) == ((0.8, 0.9), (0.65, 0.7))
    assert (decision.endpoint, decision.operating_point) == (2, 0.7)
    with pytest.raises(SettingsError, match="each threshold must lie below the one before"):
        compose_settings([*ABOVE, grade.replace("0.8", "0.95")])


def test_at_the_horizon_an_event_counts_and_who_left_before_has_no_class() -> None:
    rule = decision_of(compose_settings(["experiment=hip_fracture"]))
    assert rule.classes == ("hip fracture", "no hip fracture")
    # five years of a fracture, five of a death, then free for none to five of them
    places = np.arange(16.0)
    assert rule.class_of(places).tolist() == [0] * 5 + [1] * 5 + [-1] * 5 + [1]
    assert rule.class_of(np.array([np.nan, 0.5, 16.0, -1.0])).tolist() == [-1] * 4
    outputs = np.zeros((2, 16))
    outputs[0, :5], outputs[1, :5] = 0.01, 0.03
    assert rule.score(outputs) == pytest.approx([0.05, 0.15])
    assert rule.call(outputs).tolist() == [1, 0], "at a risk of 0.1"
    assert rule.likeliest(outputs).tolist() == [1, 1]
    assert rule.in_words() == "hip fracture at ≥ 0.1"


def test_a_rule_of_before_there_was_a_time_to_event_is_written_as_it_was() -> None:
    assert "counts_as" not in decision_of(compose_settings()).model_dump(mode="json")
