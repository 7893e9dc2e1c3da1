"""What a governed release is expected to show is what one of such patients shows."""

from __future__ import annotations

import numpy as np
import pytest
from practice_validation import spec_of_numbers, spec_of_probabilities

from shared.measure.governed.called import statistics_of
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.expected import expected_statistics
from shared.measure.governed.statistics import StatisticsSpec
from shared.measure.table.expected import likely_patients
from shared.measure.table.spec import TableSpec

NAMES = ("normal", "wedge", "crush")
NUMBERS = (
    spec_of_numbers(cuts=(0.6, 0.7)),
    StatisticsSpec(
        is_regression=True, unit_range=0.65, error_high=0.25, others=("osteopenia", "normal")
    ),
)
TWO = (spec_of_probabilities("well", "ill", cut=0.3), StatisticsSpec(is_regression=False))
THREE = (
    spec_of_probabilities(*NAMES, cut=0.3, confusion=1.0),
    StatisticsSpec(is_regression=False, others=("normal", "wedge")),
)
ALL = pytest.mark.parametrize(("table", "spec"), [NUMBERS, TWO, THREE])


def expected(table: TableSpec, spec: StatisticsSpec, n: float, cell: int = 10) -> dict[str, float]:
    return spec.named(expected_statistics(spec, table, n_patients=n, minimum_cell=cell))


@ALL
def test_figures_and_standard_errors_are_those_of_patients_drawn_from_the_expected_ones(
    table: TableSpec, spec: StatisticsSpec
) -> None:
    draw, n = np.random.default_rng(4), 600
    outputs, label, weight = likely_patients(table)
    found = []
    for _ in range(80):
        drawn = draw.choice(label.size, n, p=weight)
        found.append(statistics_of(spec, table.rule, outputs=outputs[drawn], label=label[drawn]))
    typical = spec.named(np.mean(found, axis=0))
    foreseen = expected(table, spec, n, cell=1)
    for name, value in foreseen.items():
        assert value == pytest.approx(typical[name], rel=0.05, abs=0.0 if name == "n" else 0.04), name
    for name in (name for name in foreseen if f"{name}_se" in foreseen):
        spread = np.std([spec.named(each)[name] for each in found])
        assert foreseen[f"{name}_se"] == pytest.approx(spread, rel=0.25), name


@ALL
def test_what_is_expected_to_be_withheld_is_what_most_hospitals_of_that_size_withhold(
    table: TableSpec, spec: StatisticsSpec
) -> None:
    draw = np.random.default_rng(5)
    outputs, label, weight = likely_patients(table)
    for n in (8, 30, 1200):
        shown = []
        for _ in range(40):
            drawn = draw.choice(label.size, n, p=weight)
            exact = statistics_of(spec, table.rule, outputs=outputs[drawn], label=label[drawn])
            shown.append(np.isfinite(withhold(exact, spec, minimum_cell=10)))
        usual = dict(zip(spec.figures, np.mean(shown, axis=0), strict=True))
        foreseen = {name for name, value in expected(table, spec, n).items() if np.isfinite(value)}
        assert {name for name, share in usual.items() if share > 0.9} <= foreseen, n
        assert {name for name, share in usual.items() if share < 0.1}.isdisjoint(foreseen), n


@ALL
def test_counts_are_whole_and_add_up_whatever_was_declared(
    table: TableSpec, spec: StatisticsSpec
) -> None:
    for n in (137.4, 251.5, 998.0):
        found = expected(table, spec, n, cell=1)
        counts = [
            found[name] for name in found if name in ("n", "n_positive") or name.startswith("n, ")
        ]
        assert all(count == round(count) for count in counts)
        assert not spec.others or sum(counts[1:]) == counts[0] == round(n)
