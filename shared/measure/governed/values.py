"""Whether patients' scores, or targets, have so many values that no figure is solved for who has which.

Where they have few, as by a model that reads one yes-or-no field, and the model is known, each figure
that is computed from them (AUC, Brier score, slope, R², errors) is an equation in the counts of
patients by value and class, and some figures have one solution in whole numbers. Owns that one rule;
who applies it is ``shared.measure.governed.statistics``. Imports numpy alone.

The rule: values are many where the equal groups that they amount to, n²/Σ(group²), are at least half of
the patients, or ``MANY``: then a handful of rounded figures stands against as many unknown counts of
each class as there are values, no few of which outweigh the others, so that a great many tables look
the same. That is an argument, not a proof, and it is weakest of few patients and of a model that can
give few values in all. Where values are few nothing of them is shown, even if every group holds the
minimum: two such releases would be subtracted, and a figure that is withheld would say that a group is
small.

Source: DECISIONS.md D-087; Simpson 1949 (Nature 163:688) and Hill 1973 (Ecology 54:427), the number N2,
for the number of equal groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Five times the smallest cell that is usual (policy.yaml: minimum_cell 10).
MANY = 50


def has_many_values(values: NDArray[np.float64]) -> bool:
    """Whether figures may be computed from these values, one a patient. Shapes: values [n] -> bool."""
    counts = np.unique(values, return_counts=True)[1]
    n = values.size
    return bool(n > 0 and n**2 / (counts**2).sum() >= min(n / 2, MANY))
