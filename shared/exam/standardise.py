"""Clinical values as numbers, by the schema's public reference, never by a cohort's own.

Imports the schema only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.exam.schema import CohortSchema


def standardise(
    rows: Sequence[Mapping[str, float | str | None]], schema: CohortSchema
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values in the schema's units and words, None or absent where missing, as a model takes them.

    Shapes: fields [n, k] float32: (x − mean)/sd, or the category's index, 0 where missing; field_mask
    [n, k] bool, True = present.
    """
    fields = np.zeros((len(rows), len(schema.fields)), dtype=np.float32)
    field_mask = np.zeros(fields.shape, dtype=np.bool_)
    for row, values in enumerate(rows):
        for column, clinical in enumerate(schema.fields):
            value = values.get(clinical.name)
            if value is None:
                continue
            field_mask[row, column] = True
            fields[row, column] = (
                clinical.categories.index(str(value))
                if clinical.kind == "category"
                else (float(value) - clinical.reference_mean) / clinical.reference_sd
            )
    return fields, field_mask
