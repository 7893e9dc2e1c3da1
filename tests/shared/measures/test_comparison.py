"""A release beside a simple rule: figures of the patients whom both read, against the scores."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import PolicyError, SettingsError
from shared.measure.exact.discrimination import delong
from shared.measures.comparison import Comparison, ComparisonSettings
from shared.measures.figures import is_narrow
from shared.measures.scored import MeasureTask, Scored
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum

SETTINGS = compose_settings(["measure=comparison"])
TASK = MeasureTask(decision_of(SETTINGS), SETTINGS.cohort.fields)
AGE, WEIGHT = (
    next(place for place, field in enumerate(TASK.fields) if field.name == name)
    for name in ("age", "weight")
)
SHIPPED = SETTINGS.measures["comparison"].measure


def comparison(**changes: object) -> Comparison:
    values = SHIPPED.model_dump() | {"low": 0.4, "high": 0.9} | changes
    return Comparison.build(ComparisonSettings.model_validate(values), TASK)


def people(n: int, *, seed: int = 0) -> Scored:
    """Age and weight say something of the label, the release more."""
    draw = np.random.default_rng(seed)
    fields = np.full((n, len(TASK.fields)), np.nan)
    fields[:, AGE] = draw.integers(50, 90, n)
    fields[:, WEIGHT] = np.round(draw.normal(72, 13, n), 1)
    ost = 0.2 * (fields[:, WEIGHT] - fields[:, AGE])
    label = 0.67 + 0.015 * ost + draw.normal(0, 0.1, n)
    output = 0.1 + 0.85 * label + draw.normal(0, 0.05, n)
    return Scored(output[:, None], label, fields)


def read(measure: Comparison, patients: Scored, *, sd: float = 0.0) -> dict[str, Estimate]:
    total = federate(OneSum(measure), [patients], n_declared=1.0).vector
    return dict(measure.read(total, sd=sd, minimum_cell=5, n_expected=len(patients)))


def test_the_difference_is_delongs_of_the_binned_scores() -> None:
    patients, measure = people(900), comparison()
    found = read(measure, patients)
    is_ill = TASK.rule.is_positive(patients.label)
    ost = np.round(0.2 * (patients.fields[:, WEIGHT] - patients.fields[:, AGE]), 6)
    edges = measure.bins.edges, measure.simple.bins.edges
    scores = np.stack(
        [
            -np.searchsorted(edges[0], patients.outputs[:, 0], side="left"),
            -np.searchsorted(edges[1], ost, side="right"),
        ]
    ).astype(float)
    aucs, covariance = delong(scores, is_ill)
    sd = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = found["AUC, release - OST"]
    assert found["AUC, release"].value == pytest.approx(aucs[0], abs=1e-10)
    assert found["AUC, OST"].value == pytest.approx(aucs[1], abs=1e-10)
    assert difference.value == pytest.approx(aucs[0] - aucs[1], abs=1e-10)
    assert difference.value > 0.1
    assert difference.high - difference.low == pytest.approx(2 * 1.959963984540054 * sd, abs=1e-10)
    # many bins come near the scores themselves
    fine = read(comparison(bins=16, rule=SHIPPED.rule.model_dump() | {"bins": 16}), patients)
    assert fine["AUC, OST"].value == pytest.approx(metrics.roc_auc_score(is_ill, -ost), abs=0.01)


def test_sensitivity_and_specificity_are_those_at_both_cuts() -> None:
    patients = people(900, seed=1)
    found = read(comparison(), patients)
    is_ill = TASK.rule.is_positive(patients.label)
    by_release = patients.outputs[:, 0] <= TASK.rule.operating_point
    by_ost = np.round(0.2 * (patients.fields[:, WEIGHT] - patients.fields[:, AGE]), 6) < 2.0
    for word, release, ost in (
        ("sensitivity", by_release[is_ill].mean(), by_ost[is_ill].mean()),
        ("specificity", 1 - by_release[~is_ill].mean(), 1 - by_ost[~is_ill].mean()),
    ):
        assert found[f"{word}, release"].value == pytest.approx(release)
        assert found[f"{word}, OST"].value == pytest.approx(ost)
        difference = found[f"{word}, release - OST"]
        assert difference.value == pytest.approx(release - ost)
        assert difference.low < difference.value < difference.high
    assert found["sensitivity, release - OST"].value != found["specificity, release - OST"].value


def test_who_lacks_a_field_of_the_rule_is_counted_and_compared_in_nothing() -> None:
    patients = people(900, seed=2)
    lacking = patients.select(range(150))
    lacking.fields[:75, WEIGHT], lacking.fields[75:, AGE] = np.nan, np.nan
    rest = patients.select(range(150, 900))
    both = Scored(
        np.concatenate([lacking.outputs, rest.outputs]),
        np.concatenate([lacking.label, rest.label]),
        np.concatenate([lacking.fields, rest.fields]),
    )
    found, without = read(comparison(), both), read(comparison(), rest)
    assert found["n, OST unknown"].value == 150
    assert found["n, compared"].value == 750
    assert found["n, compared, with the endpoint"].value == TASK.rule.is_positive(rest.label).sum()
    counted = {"n, OST unknown"}
    assert {name: each for name, each in found.items() if name not in counted} == {
        name: each for name, each in without.items() if name not in counted
    }


def test_those_with_the_endpoint_and_without_add_up_to_who_is_compared_under_noise_too() -> None:
    measure, draw = comparison(), np.random.default_rng(6)
    exact = federate(OneSum(measure), [people(40)], n_declared=1.0).vector
    cut_off = 0
    for _ in range(50):
        noisy = exact + draw.normal(0.0, 4.0, exact.size)
        found = measure.read(noisy, sd=4.0, minimum_cell=5, n_expected=1e6)
        ill, well = (
            found[f"n, compared, {which}"].value for which in ("with the endpoint", "without it")
        )
        assert ill + well == found["n, compared"].value
        cut_off += ill == 0
    assert cut_off > 0, "noise took those with the endpoint below none"


def test_what_the_release_cannot_read_counts_against_it_alone() -> None:
    patients = people(900, seed=3)
    before = read(comparison(), patients)
    patients.outputs[:100] = np.nan
    after = read(comparison(), patients)
    for word in ("AUC", "sensitivity", "specificity"):
        assert after[f"{word}, release"].value < before[f"{word}, release"].value
        assert after[f"{word}, OST"] == before[f"{word}, OST"]


def test_a_patient_without_a_label_is_in_no_cell() -> None:
    patients = people(50)
    patients.label[:20] = np.nan
    rows = comparison().rows_of(patients)
    assert rows.sum(axis=1).tolist() == [0.0] * 20 + [1.0] * 30


def test_under_noise_what_is_shown_was_decided_before() -> None:
    names = [f"{word}, release - OST" for word in ("AUC", "sensitivity", "specificity")]
    quiet, loud = read(comparison(), people(4000), sd=3.7), read(comparison(), people(60), sd=3.7)
    for name in names:
        assert quiet[name].value is not None
        assert quiet[name].high - quiet[name].low < 0.3
        assert loud[name] == TOO_NOISY
    assert loud["n, compared"] == TOO_NOISY, "of 60 patients, known to ± 62"
    assert quiet["n, compared"].value is not None
    # decided by the declared size alone: the same total, declared small
    total = federate(OneSum(comparison()), [people(4000)], n_declared=1.0).vector
    small = comparison().read(total, sd=3.7, minimum_cell=5, n_expected=60.0)
    assert all(small[name] == TOO_NOISY for name in names)


def test_an_interval_is_as_wide_as_noise_moves_its_figure() -> None:
    # so many patients that sampling is nothing: 200 draws know an SD to 5 %
    measure, draw, sd = comparison(), np.random.default_rng(5), 400.0
    exact = 200.0 * federate(OneSum(measure), [people(4000)], n_declared=1.0).vector
    options = {"minimum_cell": 5, "n_expected": 800_000.0}
    drawn = [
        measure.read(exact + draw.normal(0.0, sd, exact.size), sd=sd, **options) for _ in range(200)
    ]
    for name in drawn[0]:
        values, widths = np.array(
            [(each[name].value, each[name].high - each[name].low) for each in drawn]
        ).T
        if name != "n, OST unknown":  # nobody: cut at none
            assert widths.mean() == pytest.approx(2 * 1.96 * values.std(), rel=0.16), name


def test_a_class_that_is_empty_or_small_gives_no_difference() -> None:
    patients = people(400)
    well = patients.select(np.flatnonzero(~TASK.rule.is_positive(patients.label)).tolist())
    ill = patients.select(np.flatnonzero(TASK.rule.is_positive(patients.label)).tolist()[:3])
    assert read(comparison(), well)["AUC, release - OST"] == NOT_APPLICABLE
    assert read(comparison(), well)["sensitivity, release - OST"] == NOT_APPLICABLE
    few = Scored(
        np.concatenate([well.outputs, ill.outputs]),
        np.concatenate([well.label, ill.label]),
        np.concatenate([well.fields, ill.fields]),
    )
    assert read(comparison(), few)["AUC, release - OST"] == SUPPRESSED
    assert read(comparison(), few)["specificity, release - OST"].value is not None


def test_an_exact_total_with_a_small_cell_does_not_leave() -> None:
    measure = comparison()
    total = np.full(measure.n_cells, 10.0)
    assert measure.suppress(total, 10).tolist() == total.tolist()
    total[-1] = 9.0
    with pytest.raises(PolicyError, match="fewer than 10"):
        measure.suppress(total, 10)


def test_a_cut_outside_or_ends_that_do_not_rise_are_refused() -> None:
    with pytest.raises(SettingsError, match="must lie between"):
        comparison(low=0.8)
    with pytest.raises(ValidationError, match="low must lie below high"):
        comparison(low=1.0, high=0.0)
    with pytest.raises(SettingsError, match="terms must be of"):
        comparison(rule=SHIPPED.rule.model_dump() | {"terms": [{"field": "sex", "times": 1.0}]})


def test_sensitivity_and_specificity_of_a_cut_are_shown_together_or_not_at_all() -> None:
    n_hidden, measure = 0, comparison()
    for n in (200, 300, 400, 500, 600, 700, 3000, 12_000):
        found = measure.expect(float(n), sd=3.7, minimum_cell=5)
        total = np.full(measure.n_cells, 100.0)
        read = measure.read(total, sd=3.7, minimum_cell=5, n_expected=float(n))
        one, other = (read[f"{word}, release - OST"] for word in ("sensitivity", "specificity"))
        assert (one == TOO_NOISY) == (other == TOO_NOISY)
        n_hidden += is_narrow("specificity", found["specificity, release - OST"]) and other == TOO_NOISY
    assert other != TOO_NOISY
    assert n_hidden, "of some sizes a specificity alone would be narrow"


def test_a_figure_is_foreseen_only_where_its_class_is_twice_what_noise_alone_could_make() -> None:
    measure, sd = comparison(), 3.7
    least = 2 * 1.959964 * sd * 36**0.5 / 0.2  # a fifth are ill; 36 cells of each class
    for n, words in ((least - 1, set()), (least + 1, {"sensitivity", "specificity"})):
        found = measure.expect(n, sd=sd, minimum_cell=5)
        assert {word for word in words if found[f"{word}, OST"].value is not None} == words
        assert (found["AUC, OST"] == found["AUC, release - OST"] == TOO_NOISY) == (not words)
        assert (found["sensitivity, release"] == TOO_NOISY) == (not words)
        assert found["specificity, OST"].value is not None, "four fifths are well"
