"""Patients in a table's cells, held against the patients themselves and against drawn noise."""

from __future__ import annotations

import numpy as np
import pytest
from practice_validation import spec_of_numbers, spec_of_probabilities

from shared.measure.table.cells import (
    confusion_cells,
    count_classes,
    count_patients,
    endpoint_calls,
    histogram_sds,
    score_histograms,
)
from shared.measure.table.rows import contributions
from shared.measure.table.spec import TableSpec

GRADED = spec_of_numbers(cuts=(0.6, 0.7), label_cuts=(0.558, 0.738), bins=8)
TWO = spec_of_probabilities("well", "ill", bins=8, cut=0.3, error=0.35)
NAMES = ("normal", "wedge", "crush")
EACH = spec_of_probabilities(*NAMES, bins=8, cut=0.3, confusion=0.7, error=0.35)
UNCALLED = spec_of_probabilities(*NAMES, bins=8, cut=0.3)
ORDERED = spec_of_probabilities(*NAMES, bins=8, cut=0.3, is_ordered=True, confusion=0.7)
ALL = pytest.mark.parametrize("spec", [GRADED, TWO, EACH, UNCALLED, ORDERED])
N = 500


def drawn(spec: TableSpec) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    if spec.rule.is_regression:
        label = draw.normal(0.67, 0.12, N)
        return (0.35 + 0.5 * label + draw.normal(0, 0.05, N))[:, None], label
    label = draw.integers(0, spec.n_classes, N).astype(np.float64)
    weights = np.exp(draw.normal(size=(N, spec.n_classes)))
    return weights / weights.sum(axis=1, keepdims=True), label


def table_of(spec: TableSpec) -> np.ndarray:
    outputs, label = drawn(spec)
    return contributions(spec, outputs=outputs, label=label).sum(axis=0)


@ALL
def test_counts_are_those_of_the_patients(spec: TableSpec) -> None:
    table, (_, label) = table_of(spec), drawn(spec)
    assert count_patients(table, spec, noise_sd=0.0) == (pytest.approx(N), 0.0)
    positives, negatives = score_histograms(table, spec)
    n_positive = int(spec.rule.is_positive(label).sum())
    assert positives.sum() == pytest.approx(n_positive)
    assert negatives.sum() == pytest.approx(N - n_positive)


@ALL
def test_counts_of_classes_add_up_to_the_patients_and_their_noise_is_that_of_drawn_noise(
    spec: TableSpec,
) -> None:
    table, (_, label) = table_of(spec), drawn(spec)
    true = spec.rule.class_of(label)
    expected = [(true == place).sum() for place in spec.order]
    counts, sd = count_classes(table, spec, noise_sd=0.0)
    np.testing.assert_allclose(counts, expected, atol=1e-9)
    assert sd == 0.0
    noise = np.random.default_rng(6).normal(0, 2.0, (4000, spec.n_cells))
    found = [count_classes(each, spec, noise_sd=2.0) for each in noise]
    np.testing.assert_allclose(
        [counts.sum() for counts, _ in found],
        [count_patients(each, spec, noise_sd=2.0)[0] for each in noise],
        atol=1e-9,
    )
    assert np.std([counts for counts, _ in found]) == pytest.approx(found[0][1], rel=0.03)


@ALL
def test_calls_are_those_of_the_decision(spec: TableSpec) -> None:
    table, (outputs, label) = table_of(spec), drawn(spec)
    rule = spec.rule
    true, called = rule.class_of(label), rule.call(outputs)
    found = confusion_cells(table, spec, noise_sd=0.0)
    if spec is UNCALLED:
        assert found is None
    else:
        assert found is not None
        order = np.asarray(spec.order)
        expected = [[((true == t) & (called == c)).sum() for c in order] for t in order]
        np.testing.assert_allclose(found[0], expected, atol=1e-9)
    calls = endpoint_calls(table, spec, noise_sd=0.0)
    assert calls is not None
    ill, is_called = rule.is_positive(label), called == rule.endpoint
    counted = [[(own & said).sum() for said in (is_called, ~is_called)] for own in (ill, ~ill)]
    np.testing.assert_allclose(calls[0], counted, atol=1e-9)


def test_an_order_without_a_confusion_says_nothing_of_calls() -> None:
    bare = spec_of_probabilities(*NAMES, is_ordered=True)
    assert endpoint_calls(table_of(bare), bare, noise_sd=1.0) is None


@ALL
def test_the_noise_of_each_figure_is_that_of_drawn_noise(spec: TableSpec) -> None:
    draw, sd, n = np.random.default_rng(5), 2.0, 4000
    noise = draw.normal(0, sd, (n, spec.n_cells))
    counts = np.array([count_patients(each, spec, noise_sd=sd)[0] for each in noise])
    assert counts.std() == pytest.approx(count_patients(noise[0], spec, noise_sd=sd)[1], rel=0.06)
    for place, expected in enumerate(histogram_sds(spec, noise_sd=sd)):
        bins = np.stack([score_histograms(each, spec)[place] for each in noise])
        assert bins.std() == pytest.approx(expected, rel=0.03)
    calls = endpoint_calls(noise[0], spec, noise_sd=sd)
    assert calls is not None
    seen = np.stack([endpoint_calls(each, spec, noise_sd=sd)[0] for each in noise])  # type: ignore[index]
    np.testing.assert_allclose(seen.var(axis=0), calls[1], rtol=0.12)
