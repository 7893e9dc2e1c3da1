"""Clinical values as a model takes them, by hand."""

from __future__ import annotations

import numpy as np

from shared.exam.schema import CohortSchema
from shared.exam.standardise import standardise

SCHEMA = CohortSchema.model_validate(
    {
        "name": "ward",
        "version": 1,
        "fields": [
            {
                "name": "age",
                "kind": "number",
                "low": 0,
                "high": 120,
                "reference_mean": 60.0,
                "reference_sd": 10.0,
            },
            {"name": "sex", "kind": "category", "categories": ["female", "male"]},
        ],
        "label": {"kind": "class", "column": "y", "classes": ["no", "yes"]},
    }
)


def test_numbers_use_the_public_reference_and_categories_their_place() -> None:
    fields, mask = standardise([{"age": 75.0, "sex": "male"}, {"age": 40.0, "sex": "female"}], SCHEMA)
    np.testing.assert_array_equal(fields, np.array([[1.5, 1.0], [-2.0, 0.0]], dtype=np.float32))
    assert mask.all()


def test_what_is_missing_or_absent_is_zero_and_masked() -> None:
    fields, mask = standardise([{"age": None, "sex": "male"}, {}], SCHEMA)
    np.testing.assert_array_equal(fields, [[0.0, 1.0], [0.0, 0.0]])
    assert mask.tolist() == [[False, True], [False, False]]


def test_a_value_does_not_depend_on_the_others() -> None:
    alone, _ = standardise([{"age": 75.0}], SCHEMA)
    beside, _ = standardise([{"age": 1e6}, {"age": 75.0}], SCHEMA)
    assert alone.tobytes() == beside[1:].tobytes()
