"""Figures of classes against scikit-learn on the patients; noise, blocks and what is hidden."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from server.federation.compose import compose_settings
from shared.contract.decision import Decision, decision_of
from shared.errors import OsteoFedError, PolicyError, SettingsError
from shared.measures.classes import Classes, ClassesSettings
from shared.measures.scored import MeasureTask, Scored
from shared.sums.estimate import TOO_NOISY, Estimate
from shared.sums.federate import federate

GRADED = Decision(
    classes=("osteoporosis", "osteopenia", "normal"),
    endpoint=0,
    label_cuts=(0.558, 0.738),
    output_cuts=(0.6, 0.7),
)
NAMED = Decision(classes=("normal", "wedge", "crush"), endpoint=2, output_cuts=(0.3,))


TASK = MeasureTask(GRADED, ())


def scored(outputs: np.ndarray, label: np.ndarray) -> Scored:
    return Scored(outputs, label, np.zeros((len(label), 0)))


def graded(bins: int = 64) -> Classes:
    return Classes.build(ClassesSettings(kind="classes", bins=bins, low=0.4, high=0.9), TASK)


def named(**weights: float) -> Classes:
    values = {"ranking": 1.0, "confusion": 1.0, "error": 1.0} | weights
    return Classes.build(
        ClassesSettings(kind="classes", bins=64, low=0.0, high=1.0, **values), MeasureTask(NAMED, ())
    )


def people(n: int, *, seed: int = 0) -> Scored:
    draw = np.random.default_rng(seed)
    label = draw.normal(0.67, 0.12, n)
    return scored((0.35 + 0.5 * label + draw.normal(0, 0.05, n))[:, None], label)


def cases(n: int, *, seed: int = 0) -> Scored:
    draw = np.random.default_rng(seed)
    label = draw.choice(3, n, p=[0.6, 0.25, 0.15])
    logits = draw.normal(0, 1, (n, 3)) + 1.2 * (label[:, None] == np.arange(3))
    weights = np.exp(logits)
    return scored(weights / weights.sum(axis=1, keepdims=True), label.astype(np.float64))


def read(
    measure: Classes, patients: Scored, *, sd: float = 0.0, noise: np.ndarray | float = 0.0
) -> dict[str, Estimate]:
    total = federate(measure, [patients], n_declared=1.0).vector + noise
    return dict(measure.read(total, sd=sd, minimum_cell=1, n_expected=len(patients)))


def test_graded_classes_are_measured_as_on_the_patients_themselves() -> None:
    patients = people(4000)
    score, label = patients.outputs[:, 0], patients.label
    found = {name: each.value for name, each in read(graded(), patients).items()}
    true, called = GRADED.class_of(label), GRADED.call(patients.outputs)
    # 64 bins lose a few ten-thousandths of a ranking and nothing of what is called
    for name, cut in (("osteoporosis", 0.558), ("osteopenia or worse", 0.738)):
        expected = metrics.roc_auc_score(label <= cut, -score)
        assert found[f"AUC, {name}"] == pytest.approx(expected, abs=1e-3)
    agrees_with_sklearn(found, true, called, GRADED.classes)


def test_named_classes_are_measured_as_on_the_patients_themselves() -> None:
    patients = cases(4000)
    found = {name: each.value for name, each in read(named(), patients).items()}
    true, called = NAMED.class_of(patients.label), NAMED.call(patients.outputs)
    for place, name in enumerate(NAMED.classes):
        expected = metrics.roc_auc_score(true == place, patients.outputs[:, place])
        assert found[f"AUC, {name}"] == pytest.approx(expected, abs=2e-3)
    macro = metrics.roc_auc_score(true, patients.outputs, multi_class="ovr", average="macro")
    assert found["macro AUC"] == pytest.approx(macro, abs=2e-3)
    hot = np.eye(3)[true]
    brier = ((patients.outputs - hot) ** 2).sum(axis=1).mean() / 2
    assert found["Brier"] == pytest.approx(brier, abs=1e-6)
    agrees_with_sklearn(found, true, called, NAMED.classes)


def agrees_with_sklearn(
    found: dict[str, float | None], true: np.ndarray, called: np.ndarray, names: tuple[str, ...]
) -> None:
    exact = {
        "accuracy": metrics.accuracy_score(true, called),
        "balanced accuracy": metrics.balanced_accuracy_score(true, called),
        "macro F1": metrics.f1_score(true, called, average="macro"),
        "κ": metrics.cohen_kappa_score(true, called),
        "quadratic κ": metrics.cohen_kappa_score(true, called, weights="quadratic"),
    }
    for place, name in enumerate(names):
        exact[f"sensitivity, {name}"] = metrics.recall_score(true == place, called == place)
        exact[f"specificity, {name}"] = metrics.recall_score(true != place, called != place)
        exact[f"PPV, {name}"] = metrics.precision_score(true == place, called == place)
        exact[f"NPV, {name}"] = metrics.precision_score(true != place, called != place)
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, abs=1e-10), name


@pytest.mark.parametrize("sd", [0.0, 3.0])
def test_intervals_cover_what_a_large_population_has(sd: float) -> None:
    measure, names = graded(8), ("AUC, osteoporosis", "accuracy", "macro F1", "κ", "quadratic κ")
    truth = {name: read(graded(8), people(400_000, seed=99))[name].value for name in names}
    draw, n_repeats = np.random.default_rng(1), 120
    covered = dict.fromkeys(names, 0)
    for seed in range(n_repeats):
        noise = draw.normal(0, sd, measure.length(measure.start())) if sd else 0.0
        found = read(measure, people(2000, seed=seed), sd=sd, noise=noise)
        for name in names:
            low, high = found[name].low, found[name].high
            assert low is not None
            assert high is not None
            covered[name] += low <= truth[name] <= high  # type: ignore[operator]
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / n_repeats)
    assert min(covered.values()) / n_repeats > least, covered


def test_a_block_without_weight_costs_nothing_and_gives_nothing() -> None:
    whole, ranked = named(), named(confusion=0.0, error=0.0)
    start = whole.start()
    assert whole.bound(start) == pytest.approx(math.sqrt(3))
    assert ranked.bound(start) == 1.0
    assert whole.length(start) - ranked.length(start) == 9 + 1
    of_each = {f"{word}, {name}" for word in ("n", "AUC") for name in NAMED.classes}
    assert set(read(ranked, cases(300))) == {"macro AUC", *of_each}


def test_each_class_comes_with_how_many_are_of_it() -> None:
    patients = cases(3000)
    found = read(named(), patients)
    true = NAMED.class_of(patients.label)
    for place, name in enumerate(NAMED.classes):
        assert found[f"n, {name}"].value == pytest.approx((true == place).sum())
    noisy = graded(8).read(np.full(24, -1.0), sd=2.0, minimum_cell=10, n_expected=20)
    assert (noisy["n, normal"].value, noisy["n, normal"].low) == (0.0, 0.0)
    assert noisy["n, normal"].high == pytest.approx(1.96 * 2 * 8**0.5 - 8, abs=1e-2)


def test_under_noise_what_is_shown_was_decided_before() -> None:
    measure = named(error=0.0)
    few = measure.read(
        np.full(measure.length(measure.start()), 50.0), sd=8.0, minimum_cell=10, n_expected=60
    )
    assert {each for name, each in few.items() if not name.startswith("n, ")} == {TOO_NOISY}
    many = read(measure, cases(6000), sd=2.0)
    assert all(each.value is not None for each in many.values())


def test_a_score_that_is_no_number_ranks_against_its_class() -> None:
    nowhere = np.full((3, 1), np.nan)
    rows = graded(8).rows(graded(8).start(), scored(nowhere, np.array([0.5, 0.65, 0.9])))
    assert [int(row.argmax()) % 8 for row in rows] == [7, 0, 0]
    three = named(confusion=0.0, error=0.0)
    rows = three.rows(three.start(), scored(np.full((1, 3), np.nan), np.array([1.0])))
    filled = np.flatnonzero(rows[0]) % 64
    assert filled.tolist() == [63, 0, 63], "the true class lowest, the others highest"


def test_an_exact_total_with_a_small_cell_does_not_leave() -> None:
    measure = graded(4)
    total = np.full(measure.length(measure.start()), 12.0)
    assert measure.suppress(total, 10).tolist() == total.tolist()
    total[3] = 4.0
    with pytest.raises(PolicyError, match="fewer than 10"):
        measure.suppress(total, 10)


def test_what_the_task_has_not_is_refused() -> None:
    with pytest.raises(SettingsError, match="one block"):
        Classes.build(ClassesSettings(kind="classes", low=0.4, high=0.9, confusion=1.0), TASK)
    with pytest.raises(SettingsError, match="must lie between"):
        Classes.build(ClassesSettings(kind="classes", low=0.65, high=0.9), TASK)
    for wrong in ({"low": 1.0, "high": 0.0}, {"low": 0.0, "high": 1.0, "ranking": 0.0}):
        with pytest.raises(ValueError, match=r"low must|needs a weight"):
            ClassesSettings(kind="classes", **wrong)


def test_the_shipped_measure_suits_the_shipped_task() -> None:
    settings = compose_settings(["measure=classes"])
    measure = Classes.build(
        settings.measures["classes"].measure, MeasureTask(decision_of(settings), ())
    )  # type: ignore[arg-type]
    assert set(measure.rule.output_cuts) <= set(measure.edges.tolist())
    with pytest.raises(OsteoFedError):
        compose_settings(["measure=classes", "measures.classes.measure.low=2.0"])
