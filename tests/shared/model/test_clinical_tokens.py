"""One token per field, by hand: slope and intercept, category, missing."""

from __future__ import annotations

import torch

from shared.exam.schema import CategoryField, NumberField
from shared.model.clinical_tokens import ClinicalDesign, ClinicalTokens

FIELDS = (
    NumberField(kind="number", name="age", low=18, high=90, reference_mean=60),
    CategoryField(kind="category", name="smoking", categories=("never", "former", "current")),
    NumberField(kind="number", name="weight", low=30, high=200, reference_mean=70),
)
# columns: slope age, slope weight | never, former, current | missing x 3 | intercept age, weight
ROW = torch.tensor([[1.5, 2.0, -0.5]])


def test_design_rows_hold_only_their_own_columns() -> None:
    design = ClinicalDesign(FIELDS)(ROW, torch.ones(1, 3, dtype=torch.bool))
    assert design[0].tolist() == [
        [1.5, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        [0, -0.5, 0, 0, 0, 0, 0, 0, 0, 1],
    ]


def test_a_missing_field_has_only_its_missing_column_whatever_its_value() -> None:
    mask = torch.tensor([[True, False, False]])
    design = ClinicalDesign(FIELDS)
    first = design(torch.tensor([[1.5, 0.0, 0.0]]), mask)
    second = design(torch.tensor([[1.5, 2.0, 77.0]]), mask)
    assert torch.equal(first, second)
    assert first[0, 1].tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert first[0, 2].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_vector_is_the_sum_without_intercepts() -> None:
    design = ClinicalDesign(FIELDS)
    vector = design.vector(ROW, torch.tensor([[True, True, False]]))
    assert vector.tolist() == [[1.5, 0, 0, 0, 1, 0, 0, 1]]


def test_tokens_are_slope_times_value_plus_intercept_or_the_learned_embedding() -> None:
    torch.manual_seed(0)
    tokens = ClinicalTokens(FIELDS, 4)
    weight = tokens.embed.weight  # [d,n]
    found = tokens(ROW, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found[0, 0], 1.5 * weight[:, 0] + weight[:, 8])
    torch.testing.assert_close(found[0, 1], weight[:, 4])
    torch.testing.assert_close(found[0, 2], weight[:, 7])
