"""Figures that a system names beside those of a simulation, on invented patients."""

from __future__ import annotations

import numpy as np
import pytest
from practice_follow_up import FOLLOWED, follow, task_of
from sklearn.metrics import f1_score, roc_auc_score

from server.experiments.measures import F1, KAPPA, auc_from, c_index_of, further_measures
from server.simulation.comparison import Difference, Figure, measure_place
from shared.contract.decision import Decision
from shared.measure.exact.agreement import f1_influence, kappa_influence
from shared.measures.scored import Scored

TWO = Decision(classes=("normal", "abnormal"), endpoint=1, output_cuts=(0.4,))
THREE = Decision(classes=("none", "mild", "severe"), endpoint=2, output_cuts=(0.5,))
DEATH = c_index_of("death")


def read(decision: Decision, *, seed: int, n: int = 150) -> Scored:
    """Chances of each class of the same people, of a model that errs by its own noise."""
    c = len(decision.classes)
    label = np.random.default_rng(1).integers(0, c, n).astype(float)
    logits = 1.5 * np.eye(c)[label.astype(int)] + np.random.default_rng(seed).normal(size=(n, c))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Scored(chances, label, np.zeros((n, 0)))


def measured(decision: Decision) -> tuple[dict[str, Figure], dict[str, Difference], list[Scored]]:
    both = [read(decision, seed=seed) for seed in (2, 3)]
    figures, differences = measure_place(
        "later",
        {"first": both[0], "second": both[1]},
        decision,
        ours="first",
        further=further_measures((F1, KAPPA, "AUC"), decision),
        replicates=20,
    )
    own = {each.figure: each for each in figures if each.arm == "first"}
    return own, {each.figure: each for each in differences}, both


@pytest.mark.parametrize("decision", [TWO, THREE], ids=["two", "three"])
def test_f1_and_kappa_are_of_the_classes_that_the_rule_calls(decision: Decision) -> None:
    figures, differences, both = measured(decision)
    called = np.stack([decision.call(each.outputs) for each in both])
    true = both[0].label.astype(int)
    # of two classes the endpoint's, of three the mean
    f1, parts = f1_influence(called, true, [1] if decision is TWO else range(3))
    kappa, _ = kappa_influence(called, true, len(decision.classes))
    for name, values in ((F1, f1), (KAPPA, kappa)):
        assert figures[name].value == pytest.approx(values[0])
        assert differences[name].value == pytest.approx(values[0] - values[1])
    margin = 1.959964 * np.sqrt(((parts[0] - parts[1]) ** 2).sum())
    assert differences[F1].high - differences[F1].value == pytest.approx(margin, rel=1e-4)


NUMBER = Decision(
    classes=("osteoporosis", "osteopenia", "normal"),
    endpoint=0,
    label_cuts=(-2.5, -1.0),
    output_cuts=(-2.4, -1.2),
    is_ordered=True,
)
STAGES = Decision(classes=NUMBER.classes[::-1], endpoint=2, output_cuts=(0.4,), is_ordered=True)


def test_who_is_at_an_earlier_stage_or_worse_is_ranked_by_the_number_or_by_both_probabilities() -> None:
    draw = np.random.default_rng(5)
    value = draw.normal(-1.2, 1.2, 300)
    read = value + draw.normal(size=300)
    stage = (value <= -1.0).astype(float) + (value <= -2.5)
    chances = np.exp(np.eye(3)[stage.astype(int)] + draw.normal(size=(300, 3)))
    chances /= chances.sum(axis=1, keepdims=True)
    name = auc_from("osteopenia")
    for decision, outputs, label, score in (
        (NUMBER, read[:, None], value, -read),
        (STAGES, chances, stage, 1 - chances[:, 0]),
    ):
        scored = Scored(outputs, label, np.zeros((300, 0)))
        further = further_measures((name, auc_from("normal"), F1), decision)
        assert list(further) == [name, F1]
        figures, _ = measure_place(
            "later", {"a": scored}, decision, ours="a", further=further, replicates=5
        )
        found = {each.figure: each.value for each in figures}
        assert found[name] == pytest.approx(roc_auc_score(value <= -1.0, score))
        called = decision.call(outputs)
        assert found[F1] == pytest.approx(f1_score(decision.class_of(label), called, average="macro"))


def test_a_kappa_below_nought_keeps_its_interval() -> None:
    label = np.tile([0.0, 1.0], 30)
    wrong = np.where(label[:, None] == [0, 1], 0.2, 0.8)
    scored = Scored(wrong, label, np.zeros((60, 0)))
    further = further_measures((KAPPA,), TWO)
    figures, _ = measure_place("later", {"a": scored}, TWO, ours="a", further=further, replicates=5)
    [kappa] = [each for each in figures if each.figure == KAPPA]
    assert kappa.value == pytest.approx(-1.0)
    assert kappa.low == pytest.approx(-1.0)


def test_what_no_system_names_or_no_label_has_is_not_measured() -> None:
    assert further_measures(("AUC", "accuracy"), TWO) == {}
    assert further_measures((auc_from("abnormal"), DEATH), TWO) == {}
    assert list(further_measures((F1, DEATH), task_of(FOLLOWED).rule, FOLLOWED)) == [DEATH]


def test_who_dies_is_ranked_by_the_second_head_and_not_by_the_risk_of_a_fracture() -> None:
    followed = follow(400, seed=3, competing=0.1)
    place = followed.places(FOLLOWED)
    k = FOLLOWED.n_intervals
    died = (place >= k) & (place < 2 * k)
    outputs = np.zeros((len(place), len(FOLLOWED.classes)))
    outputs[:, 0] = np.where(died, 0.0, 0.9)  # a fracture is foretold of everybody else
    # the earlier the death, the higher its risk
    outputs[:, 2 * k - 1] = np.where(died, 0.9 - 0.1 * (place - k), 0.01)
    decision = task_of(FOLLOWED).rule
    figures, _ = measure_place(
        "later",
        {"a": Scored(outputs, place, np.zeros((len(place), 0)))},
        decision,
        ours="a",
        follow_up=FOLLOWED,
        further=further_measures((DEATH,), decision, FOLLOWED),
    )
    assert {each.figure: each.value for each in figures}[DEATH] == pytest.approx(1.0)
