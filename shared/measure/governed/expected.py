"""What a governed release will show, before a hospital answers: public values and sizes alone decide.

The patients whom a noised table expects are measured and withheld as a hospital's own would be. Of a
model that gives few values more is withheld than that (``values``), and of a split that had an exact
release before: neither is known here. Imports the rest of the package and the expected patients.
"""

from __future__ import annotations

import numpy as np

from shared.measure.governed.called import statistics_of
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import Floats, StatisticsSpec, size_of
from shared.measure.table.expected import likely_patients
from shared.measure.table.spec import TableSpec
from shared.measures.counts import add_up


def expected_statistics(
    spec: StatisticsSpec, table: TableSpec, *, n_patients: float, minimum_cell: int
) -> Floats:
    """The statistics [m] of so many expected patients, NaN where they would be withheld.

    Args:
        spec: meaning of the places.
        table: of the same stage; it says whom to expect.
        n_patients: as declared.
        minimum_cell: fewest patients of a cell that is implied.
    """
    outputs, label, weight = likely_patients(table)
    copies = np.rint(weight / weight.min() * (table.n_classes - 1)).astype(np.intp)
    many = statistics_of(
        spec, table.rule, outputs=np.repeat(outputs, copies, axis=0), label=np.repeat(label, copies)
    )
    found = _of_so_many(spec.named(many), spec, n_patients)
    return withhold(np.array([found[name] for name in spec.figures]), spec, minimum_cell=minimum_cell)


def _of_so_many(many: dict[str, float], spec: StatisticsSpec, n_patients: float) -> dict[str, float]:
    """Figures of so few patients, alike: counts by their share, standard errors by its root."""
    share = n_patients / many["n"]
    classes = ["n_positive", *(size_of(name) for name in spec.others)]
    sizes = np.array([many[name] for name in classes]) * share
    others = [] if spec.others else [n_patients - sizes[0]]  # who lacks the endpoint
    counts = add_up(np.append(sizes, others), n_patients)
    wider = {name: many[name] / share**0.5 for name in many if name.endswith("_se")}
    n = {"n": float(round(n_patients))}
    return many | wider | n | dict(zip(classes, counts.tolist(), strict=False))
