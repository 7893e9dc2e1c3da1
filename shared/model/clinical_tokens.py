"""One token per clinical field: a number's slope and intercept, a category, or "missing".

Owns the design matrix that turns a row of fields into inputs of one plain ``Linear``, so that the
tokens need no look-up, no branch on data and no in-place write, and run under ``torch.func.vmap``.
Legend: b batch · k fields · n design columns · d width. Imports the cohort schema only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared.exam.schema import ClinicalField


class ClinicalDesign(nn.Module):
    """Design rows [b,k,n] of the fields: token f of a present number is x_f·W_f + b_f.

    Columns: one slope per number, one per category, one "missing" per field, one intercept per
    number. A row holds only its own field's columns, so one weight [d,n] holds every embedding. It
    has no trainable parameter.
    """

    slope: Tensor
    code: Tensor
    missing: Tensor
    intercept: Tensor

    def __init__(self, fields: Sequence[ClinicalField]) -> None:
        super().__init__()
        n_fields = len(fields)
        numbers = [row for row, field in enumerate(fields) if field.kind == "number"]
        categories = [
            (row, float(index))
            for row, field in enumerate(fields)
            for index in range(len(field.categories) if field.kind == "category" else 0)
        ]
        first_missing = len(numbers) + len(categories)
        first_intercept = first_missing + n_fields
        self.n_columns = first_intercept + len(numbers)
        self.n_vector = first_intercept
        self.n_fields = n_fields
        slope = torch.zeros(n_fields, self.n_columns)
        intercept = torch.zeros_like(slope)
        missing = torch.zeros_like(slope)
        # NaN equals nothing, so a column that is no category never matches an index.
        code = torch.full_like(slope, torch.nan)
        for column, row in enumerate(numbers):
            slope[row, column] = 1.0
            intercept[row, first_intercept + column] = 1.0
        for column, (row, index) in enumerate(categories, start=len(numbers)):
            code[row, column] = index
        for row in range(n_fields):
            missing[row, first_missing + row] = 1.0
        self.register_buffer("slope", slope, persistent=False)
        self.register_buffer("code", code, persistent=False)
        self.register_buffer("missing", missing, persistent=False)
        self.register_buffer("intercept", intercept, persistent=False)

    def forward(self, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Design rows of standardised numbers and category indices.

        Shapes: fields [b,k], field_mask [b,k] (True = present) -> [b,k,n].
        """
        value = fields.unsqueeze(-1)  # [b,k,1]
        here = field_mask.unsqueeze(-1).to(fields.dtype)  # [b,k,1]
        present = value * self.slope + (value == self.code).to(fields.dtype) + self.intercept
        return here * present + (1.0 - here) * self.missing

    def vector(self, fields: Tensor, field_mask: Tensor) -> Tensor:
        """All fields as one vector: numbers (0 where missing), categories, "missing" marks.

        Shapes: [b,k], [b,k] -> [b,n_vector]. Intercepts are left out: a head has its own bias.
        """
        return self.forward(fields, field_mask).sum(dim=-2)[..., : self.n_vector]


class ClinicalTokens(nn.Module):
    """Clinical tokens [b,k,d].

    A missing field's token is that field's learned "missing" embedding. It asks questions of the
    image and enters the pooled mean, but whoever attends to clinical tokens must mask it as a key:
    an unknown value carries nothing to read.
    """

    def __init__(self, fields: Sequence[ClinicalField], width: int) -> None:
        super().__init__()
        self.design = ClinicalDesign(fields)
        self.embed = nn.Linear(self.design.n_columns, width, bias=False)

    def forward(self, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: fields [b,k], field_mask [b,k] -> [b,k,d]."""
        tokens: Tensor = self.embed(self.design(fields, field_mask))
        return tokens
