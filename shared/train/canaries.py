"""Canaries in the training path: patients who do not exist and write only on the audit register.

They are rows of the same batch and go through the same sampler, gradient, clip, sum, noise and
optimizer as patients. Their raw gradient is −10·C on one coordinate of the register and zero on the
model; a patient's is zero on the register. Imports the batch and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.train.loss import PatientLoss
from shared.train.patients import PatientBatch

RAW_NORM = 10.0  # of a canary's gradient, in clip norms: the clip must bring it down to 1
_LEAST_EXAMS = 4  # so that clipping by exam or film instead of by patient shows


class AuditRegister:
    """One site's canaries in one round: who takes part, and what became of them.

    Args:
        coins: [m], True = the canary takes part.
    """

    def __init__(self, coins: NDArray[np.bool_]) -> None:
        self.coins = coins
        self._sums: list[NDArray[np.float64]] = []

    @property
    def sums(self) -> NDArray[np.float64]:
        """The register's part of each step's noised sum, [steps, m]."""
        return np.array(self._sums).reshape(len(self._sums), len(self.coins))

    def attach(
        self, model: nn.Module, batch: PatientBatch, loss: PatientLoss, *, clip_norm: float
    ) -> tuple[nn.Module, PatientBatch, PatientLoss]:
        """The same three with the register beside the weights and canaries among the patients."""
        return (
            WithRegister(model, len(self.coins)),
            with_canaries(batch, self.coins),
            audited_loss(loss, clip_norm=clip_norm),
        )

    def record(self, noised: Sequence[Tensor]) -> None:
        """Keep the register's part of one step's noised sums, one per trainable tensor."""
        self._sums.append(noised[0].cpu().numpy().astype(np.float64))


class WithRegister(nn.Module):
    """A model with m more trainable numbers, its first, that only canaries touch.

    Shapes: forward(tokens, view_mask, fields, field_mask, canary []) -> (output, register value []).
    """

    def __init__(self, model: nn.Module, n_canaries: int) -> None:
        super().__init__()
        reference = next(model.parameters())
        self.register = nn.Parameter(reference.new_zeros(n_canaries))
        self.model = model

    def forward(
        self, tokens: Tensor, view_mask: Tensor, fields: Tensor, field_mask: Tensor, canary: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The model's output, and the register's value at ``canary`` (at 0 for a patient)."""
        value = self.register.gather(0, canary.clamp(min=0).reshape(1))[0]
        return self.model(tokens, view_mask, fields, field_mask), value


def audited_loss(loss: PatientLoss, *, clip_norm: float) -> PatientLoss:
    """``loss`` for patients; for canary j −10·clip_norm times the register's value at j."""

    def audited(model: Callable[..., Any], patient: PatientBatch) -> Tensor:
        values: list[Tensor] = []

        def run(*inputs: Tensor) -> Tensor:
            output: Tensor
            output, value = model(*inputs, patient.canary)
            values.append(value)
            return output

        own = loss(run, patient)
        its = -RAW_NORM * clip_norm * values[0]
        return torch.where(patient.canary >= 0, its, own)

    return audited


def with_canaries(batch: PatientBatch, coins: NDArray[np.bool_]) -> PatientBatch:
    """``batch`` and a row for each canary whose coin fell True: several exams, each view, all black."""
    chosen = torch.from_numpy(np.flatnonzero(coins)).to(batch.canary)
    n_exams = max(_LEAST_EXAMS, batch.target.shape[1])
    wide = batch.padded(n_exams)
    rows = {
        name: tensor.new_zeros((len(chosen), *tensor.shape[1:]))
        for name, tensor in wide.named_tensors().items()
    }
    rows |= {
        "view_mask": torch.ones_like(rows["view_mask"]),
        "exam_mask": torch.ones_like(rows["exam_mask"]),
        "canary": chosen,
    }
    return PatientBatch(
        **{name: torch.cat([tensor, rows[name]]) for name, tensor in wide.named_tensors().items()},
        films=wide.films,
    )
