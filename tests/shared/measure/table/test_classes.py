"""Figures of classes against scikit-learn on the patients; noise, and what is hidden."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from practice_tables import sum_table
from practice_validation import rows_of_numbers, spec_of_numbers, spec_of_probabilities
from sklearn import metrics

from shared.contract.decision import Decision
from shared.measure.table.cells import by_suspicion, count_classes, graded_histograms
from shared.measure.table.classes import expect_classes, read_classes
from shared.measure.table.expected import expect
from shared.measure.table.reading import read_table
from shared.measure.table.rows import contributions, graded_score
from shared.measure.table.spec import TableSpec
from shared.measures.figures import auc_of
from shared.sums.estimate import TOO_NOISY, Estimate

NAMES = ("normal", "wedge", "crush")
CALIBRATION = ("calibration intercept", "calibration slope", "calibration error")
Patients = tuple[np.ndarray, np.ndarray]


def graded(bins: int = 64) -> TableSpec:
    return spec_of_numbers(cuts=(0.6, 0.7), label_cuts=(0.558, 0.738), bins=bins, scores=(0.4, 0.9))


def named(*, is_ordered: bool = False, **weights: float) -> TableSpec:
    values = {"confusion": 1.0, "error": 0.5} | weights
    return spec_of_probabilities(*NAMES, bins=64, cut=0.3, is_ordered=is_ordered, **values)


def people(n: int, *, seed: int = 0) -> Patients:
    draw = np.random.default_rng(seed)
    label = draw.normal(0.67, 0.12, n)
    return (0.35 + 0.5 * label + draw.normal(0, 0.05, n))[:, None], label


def cases(n: int, *, seed: int = 0) -> Patients:
    draw = np.random.default_rng(seed)
    label = draw.choice(3, n, p=[0.6, 0.25, 0.15])
    logits = draw.normal(0, 1, (n, 3)) + 1.2 * (label[:, None] == np.arange(3))
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), label.astype(np.float64)


def read(
    spec: TableSpec, patients: Patients, *, sd: float = 0.0, noise: np.ndarray | float = 0.0
) -> dict[str, Estimate]:
    outputs, label = patients
    table = contributions(spec, outputs=outputs, label=label).sum(axis=0) + noise
    return read_classes(table, spec, noise_sd=sd, minimum_cell=1, n_expected=len(label))


def test_graded_classes_are_measured_as_on_the_patients_themselves() -> None:
    outputs, label = people(4000)
    spec = graded()
    found = {name: each.value for name, each in read(spec, (outputs, label)).items()}
    true, called = spec.rule.class_of(label), spec.rule.call(outputs)
    # 64 bins lose a few ten-thousandths of a ranking and nothing of what is called
    expected = metrics.roc_auc_score(label <= 0.738, -outputs[:, 0])
    assert found["AUC, osteopenia or worse"] == pytest.approx(expected, abs=1e-3)
    agrees_with_sklearn(found, true, called, spec.rule.classes)
    low, read_low = label <= 0.738, outputs[:, 0] <= 0.7  # T ≤ −1, and what is called so
    for word, truth, said in (
        ("sensitivity", low, read_low),
        ("specificity", ~low, ~read_low),
        ("PPV", read_low, low),
        ("NPV", ~read_low, ~low),
    ):
        expected = (truth & said).sum() / truth.sum()
        assert found[f"{word}, osteopenia or worse"] == pytest.approx(expected, abs=1e-10)
    quadratic = metrics.cohen_kappa_score(true, called, weights="quadratic")
    assert found["quadratic κ"] == pytest.approx(quadratic, abs=1e-10)


@pytest.mark.parametrize("is_ordered", [False, True])
def test_named_classes_are_measured_as_on_the_patients_themselves(is_ordered: bool) -> None:
    outputs, label = cases(4000)
    spec = named(is_ordered=is_ordered)
    found = {name: each.value for name, each in read(spec, (outputs, label)).items()}
    true, called = spec.rule.class_of(label), spec.rule.call(outputs)
    if is_ordered:
        score = graded_score(spec, outputs)
        expected = metrics.roc_auc_score(true >= 1, score)
        assert found["AUC, wedge or worse"] == pytest.approx(expected, abs=2e-3)
    else:
        for place, name in enumerate(NAMES[:2]):
            expected = metrics.roc_auc_score(true == place, outputs[:, place])
            assert found[f"AUC, {name}"] == pytest.approx(expected, abs=2e-3)
        macro = metrics.roc_auc_score(true, outputs, multi_class="ovr", average="macro")
        assert found["macro AUC"] == pytest.approx(macro, abs=2e-3)
    hot = np.eye(3)[true]
    brier = ((outputs - hot) ** 2).sum(axis=1).mean() / 2
    assert found["Brier"] == pytest.approx(brier, abs=1e-6)
    agrees_with_sklearn(found, true, called, NAMES)
    assert ("quadratic κ" in found) == is_ordered, "a distance between classes needs an order"


def agrees_with_sklearn(
    found: dict[str, float | None], true: np.ndarray, called: np.ndarray, names: tuple[str, ...]
) -> None:
    exact = {
        "accuracy": metrics.accuracy_score(true, called),
        "balanced accuracy": metrics.balanced_accuracy_score(true, called),
        "macro F1": metrics.f1_score(true, called, average="macro"),
        "κ": metrics.cohen_kappa_score(true, called),
    }
    for place, name in enumerate(names):
        if name not in ("osteoporosis", "crush"):  # the endpoint's own are in ``Measures``
            exact[f"sensitivity, {name}"] = metrics.recall_score(true == place, called == place)
            exact[f"specificity, {name}"] = metrics.recall_score(true != place, called != place)
        exact[f"PPV, {name}"] = metrics.precision_score(true == place, called == place)
        exact[f"NPV, {name}"] = metrics.precision_score(true != place, called != place)
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, abs=1e-10), name


@pytest.mark.parametrize("sd", [0.0, 3.0])
def test_intervals_cover_what_a_large_population_has(sd: float) -> None:
    spec, names = graded(8), ("AUC, osteopenia or worse", "accuracy", "macro F1", "κ", "quadratic κ")
    truth = {name: each.value for name, each in read(spec, people(400_000, seed=99)).items()}
    draw, n_repeats = np.random.default_rng(1), 120
    covered = dict.fromkeys(names, 0)
    for seed in range(n_repeats):
        noise = draw.normal(0, sd, spec.n_cells) if sd else 0.0
        found = read(spec, people(2000, seed=seed), sd=sd, noise=noise)
        for name in names:
            low, high, true = found[name].low, found[name].high, truth[name]
            assert low is not None
            assert high is not None
            assert true is not None
            covered[name] += low <= true <= high
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / n_repeats)
    assert min(covered.values()) / n_repeats > least, covered


def test_a_block_without_weight_costs_nothing_and_gives_nothing() -> None:
    whole, ranked = named(), named(confusion=0.0, error=0.0)
    assert whole.n_cells - ranked.n_cells == 9 + 1
    of_each = {f"n, {name}" for name in NAMES} | {"AUC, normal", "AUC, wedge"}
    of_endpoint = {"LR+, crush", "LR−, crush", *CALIBRATION}
    assert set(read(ranked, cases(300))) == {"macro AUC", *of_each, *of_endpoint}


def test_each_class_comes_with_how_many_are_of_it() -> None:
    outputs, label = cases(3000)
    found = read(named(), (outputs, label))
    for place, name in enumerate(NAMES):
        assert found[f"n, {name}"].value == pytest.approx((label == place).sum())


@pytest.mark.parametrize(("spec", "patients"), [(named(), cases(60)), (graded(8), people(60))])
def test_classes_that_are_displayed_add_up_to_the_patients_beside_them(
    spec: TableSpec, patients: Patients
) -> None:
    outputs, label = patients
    draw, sums = np.random.default_rng(3), contributions(spec, outputs=outputs, label=label).sum(axis=0)
    options = {"noise_sd": 6.0, "minimum_cell": 10}
    hidden = 0
    for _ in range(60):
        noisy = sums + draw.normal(0, 6.0, spec.n_cells)
        beside = read_table(noisy, spec, sensitivity_target=0.0, shown=(), **options)
        of_each = read_classes(noisy, spec, n_expected=1e6, **options)
        counts = [of_each[f"n, {name}"] for name in spec.classes]
        assert sum(each.value for each in counts) == beside.n_patients.value
        assert counts[0] == beside.n_positive
        raw = count_classes(noisy, spec, noise_sd=6.0)[0]
        hidden += (raw < 0).any()
        assert all(each.low <= each.value <= each.high for each in counts)
    assert hidden > 0, "noise took a class below zero in some draw"


def test_of_two_classes_only_what_the_endpoints_own_figures_do_not_say() -> None:
    outputs, label = cases(3000)
    two = spec_of_probabilities("well", "ill", bins=16, error=0.35)
    score = outputs[:, 2]
    found = read(two, (np.stack([1 - score, score], axis=1), (label == 2).astype(float)))
    assert set(found) == {
        *("PPV, ill", "NPV, ill", "accuracy", "balanced accuracy", "macro F1", "κ", "Brier"),
        *("LR+, ill", "LR−, ill", *CALIBRATION),
    }
    called = score >= 0.5
    assert found["PPV, ill"].value == pytest.approx(metrics.precision_score(label == 2, called))


def test_under_noise_what_is_shown_was_decided_before() -> None:
    spec = named(error=0.0)
    few = read_classes(np.full(spec.n_cells, 50.0), spec, noise_sd=8.0, minimum_cell=10, n_expected=60)
    assert {each for name, each in few.items() if not name.startswith("n, ")} == {TOO_NOISY}
    many = read(spec, cases(6000), sd=2.0)
    assert all(each.value is not None for each in many.values())


def test_classes_that_are_taken_together_bring_the_noise_of_each() -> None:
    spec, (outputs, label), sd = graded(8), people(2000), 3.0
    table = contributions(spec, outputs=outputs, label=label).sum(axis=0)
    osteoporosis, osteopenia, normal = by_suspicion(graded_histograms(table, spec), spec)
    cell_sd = sd / spec.cell_weight
    expected = auc_of(osteoporosis + osteopenia, normal, (cell_sd * 2**0.5, cell_sd), 1)
    assert read(spec, (outputs, label), sd=sd)["AUC, osteopenia or worse"] == expected


def test_a_score_that_is_no_number_ranks_against_its_class() -> None:
    spec = graded(8)
    rows = contributions(spec, outputs=np.full((3, 1), np.nan), label=np.array([0.5, 0.65, 0.9]))
    assert [int(row[:24].argmax()) % 8 for row in rows] == [7, 0, 0]
    three = named(confusion=0.0, error=0.0)
    rows = contributions(three, outputs=np.full((1, 3), np.nan), label=np.array([1.0]))
    filled = np.flatnonzero(rows[0]) % 64
    # crush, normal, wedge: the true class lowest, the others highest
    assert filled.tolist() == [63, 63, 0]


def test_what_the_main_table_says_of_the_endpoint_is_said_there_only() -> None:
    for spec, patients in ((graded(), people(500)), (named(), cases(500))):
        endpoint = spec.classes[0]
        of_endpoint = {f"{word}, {endpoint}" for word in ("AUC", "sensitivity", "specificity")}
        assert not of_endpoint & set(read(spec, patients))


def test_figures_of_noisy_classes_stay_within_what_they_can_be() -> None:
    spec, draw = named(error=0.0), np.random.default_rng(2)
    least, n_shown = {"balanced accuracy": 0.0, "macro F1": 0.0, "κ": -1.0}, 0
    for _ in range(200):
        table = draw.normal(0.5, 6.0, spec.n_cells)
        found = read_classes(table, spec, noise_sd=6.0, minimum_cell=10, n_expected=1e6)
        for name, low in least.items():
            if found[name].value is not None:
                assert low <= found[name].low <= found[name].value <= found[name].high <= 1.0, name
                n_shown += 1
    assert n_shown > 50


def test_a_call_that_is_no_number_is_of_a_class_that_the_patient_is_not_of() -> None:
    spec = named()
    outputs, label = np.full((3, 3), np.nan), np.array([0.0, 1.0, 2.0])
    rows = contributions(spec, outputs=outputs, label=label)[:, spec.parts["confusion"]]
    called = rows.reshape(3, 3, 3).sum(axis=1).argmax(axis=1)
    true = rows.reshape(3, 3, 3).sum(axis=2).argmax(axis=1)
    assert (called != true).all()


def mirrored(spec: TableSpec) -> TableSpec:
    """The same of numbers turned upside down: the endpoint lies above its cut."""
    rule = spec.rule
    return replace(
        spec,
        rule=Decision(
            classes=rule.classes[::-1],
            endpoint=len(rule.classes) - 1,
            label_cuts=tuple(-cut for cut in rule.label_cuts[::-1]),
            output_cuts=tuple(-cut for cut in rule.output_cuts[::-1]),
            is_ordered=True,
        ),
        score_low=-spec.score_high,
        score_high=-spec.score_low,
        target_low=-spec.target_high,
        target_high=-spec.target_low,
    )


@pytest.mark.parametrize("cuts", [(0.56,), (0.6, 0.7)])
def test_an_endpoint_above_its_cut_is_measured_as_its_mirror_below(cuts: tuple[float, ...]) -> None:
    draw = np.random.default_rng(4)
    target = draw.normal(0.68, 0.12, 400)
    prediction = target + draw.normal(0, 0.08, 400)
    # on a cut
    prediction[0], target[1] = cuts[0], cuts[-1]
    below = spec_of_numbers(cuts=cuts, bins=16, scores=(0.4, 0.9))
    above = mirrored(below)
    tables = [
        sum_table(rows_of_numbers(spec, sign * prediction, sign * target))
        for spec, sign in ((below, 1.0), (above, -1.0))
    ]
    reading = {"noise_sd": 0.0, "minimum_cell": 5}
    found = [
        read_table(table, spec, sensitivity_target=0.0, **reading)
        for table, spec in zip(tables, (below, above), strict=True)
    ]
    for name in ("auc", "sensitivity", "specificity", "r2", "mae", "rmse"):
        one, other = (getattr(measures, name) for measures in found)
        assert (one.value, one.low) == pytest.approx((other.value, other.low), abs=1e-9), name
    classes = [
        read_classes(table, spec, n_expected=400.0, **reading)
        for table, spec in zip(tables, (below, above), strict=True)
    ]
    assert classes[0].keys() == classes[1].keys()
    for name, one in classes[0].items():
        assert one.value == pytest.approx(classes[1][name].value, abs=1e-9), name


def test_nothing_composed_of_all_classes_is_shown_without_the_endpoints_own_shares() -> None:
    """Balanced accuracy of two classes is half its sensitivity, which was too noisy."""
    spec = spec_of_probabilities("well", "ill", bins=16, cut=0.3)
    n_alone = 0
    for n in (60, 100, 200, 400, 800):
        for sd in (1.0, 3.0, 6.0):
            found = expect_classes(spec, noise_sd=sd, minimum_cell=10, n_expected=n)
            own = expect(spec, n_patients=n, noise_sd=sd, minimum_cell=10)
            composed = {
                found[name].value is not None for name in ("balanced accuracy", "macro F1", "κ")
            }
            assert composed == {own.shown >= {"sensitivity", "specificity"}}
            specificity = own.half_widths["specificity"]
            n_alone += specificity is not None and specificity < 0.2 and composed == {False}
    assert n_alone > 1, "of some tables a specificity alone is narrow"
