"""Canaries in the training path: patients who do not exist and write only on the audit register.

They are rows of the same batch and go through the same sampler, gradient, clip, sum, noise and
optimizer as patients. Their raw gradient is −10·C on one coordinate of the register and zero on the
model; a patient's is zero on the register. Imports the batch and the loss.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.train.loss import PatientLoss
from shared.train.patients import PatientBatch, join_patients

RAW_NORM = 10.0  # of a canary's gradient, in clip norms: the clip must bring it down to 1


class AuditRegister:
    """One site's canaries in one round: who takes part, where they lie, and what became of them.

    Args:
        coins: [m], True = the canary takes part.
    """

    def __init__(self, coins: NDArray[np.bool_]) -> None:
        self.coins = coins
        self._sums: list[NDArray[np.float64]] = []
        self._order = torch.arange(len(coins))

    @property
    def sums(self) -> NDArray[np.float64]:
        """The register's part of each step's noised sum, [steps, m]."""
        return np.array(self._sums).reshape(len(self._sums), len(self.coins))

    @property
    def length(self) -> int:
        """p, the numbers of a sum, the register's m among them."""
        return len(self._order)

    @property
    def places(self) -> NDArray[np.int64]:
        """Where in the draw of noise each number of the register lay, [m]."""
        places: NDArray[np.int64] = np.argsort(self._order.numpy())[: len(self.coins)]
        return places

    def order(self, length: int) -> Tensor:
        """The numbers of a sum of ``length`` in a secret order, the same for all steps of the round."""
        if self.length != length or not self._sums:
            draw = np.random.default_rng(secrets.randbits(128))
            self._order = torch.from_numpy(draw.permutation(length))
        return self._order

    def attach(
        self, model: nn.Module, batch: PatientBatch, loss: PatientLoss, *, clip_norm: float
    ) -> tuple[nn.Module, PatientBatch, PatientLoss]:
        """The same three with the register beside the weights and canaries among the patients."""
        return (
            WithRegister(model, len(self.coins)),
            with_canaries(batch, self.coins),
            audited_loss(loss, clip_norm=clip_norm),
        )

    def record(self, noised: Tensor) -> None:
        """Keep the register's part of one step's noised sum [p]: its first m numbers."""
        self._sums.append(noised[: len(self.coins)].cpu().numpy().astype(np.float64))


class Register(nn.Module):
    """m trainable numbers that only canaries touch.

    Shapes: forward(canary [b]) -> value [b], of place 0 for a patient.
    """

    def __init__(self, n_canaries: int, like: Tensor) -> None:
        super().__init__()
        self.places = nn.Parameter(like.new_zeros(n_canaries))

    def forward(self, canary: Tensor) -> Tensor:
        """The register's value at each canary's place."""
        value: Tensor = self.places.gather(0, canary.clamp(min=0).reshape(-1)).reshape(canary.shape)
        return value


class WithRegister(nn.Module):
    """A model and, before its own weights, an audit register.

    Shapes: forward(tokens, film_exam, fields, field_mask, canary [b]) -> (output, register value [b]).
    """

    def __init__(self, model: nn.Module, n_canaries: int) -> None:
        super().__init__()
        self.register = Register(n_canaries, next(model.parameters()))
        self.model = model

    def forward(
        self, tokens: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor, canary: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The model's output, and the register's value at ``canary`` (at 0 for a patient)."""
        return self.model(tokens, film_exam, fields, field_mask), self.register(canary)


def audited_loss(loss: PatientLoss, *, clip_norm: float) -> PatientLoss:
    """``loss`` for patients; for canary j −10·clip_norm times the register's value at j."""

    def audited(model: Callable[..., Any], patients: PatientBatch) -> Tensor:
        values: list[Tensor] = []

        def run(*inputs: Tensor) -> Tensor:
            output: Tensor
            output, value = model(*inputs, patients.canary)
            values.append(value)
            return output

        own = loss(run, patients)
        its = -RAW_NORM * clip_norm * values[0]
        return torch.where(patients.canary >= 0, its, own)

    return audited


def with_canaries(batch: PatientBatch, coins: NDArray[np.bool_]) -> PatientBatch:
    """``batch`` and a row for each canary whose coin fell True: every exam, every film, all black.

    They fill the shape that any patient has, so that clipping by exam or film instead of by patient
    shows.
    """
    chosen = torch.from_numpy(np.flatnonzero(coins)).to(batch.canary)
    rows = {
        name: tensor.new_zeros((len(chosen), *tensor.shape[1:]))
        for name, tensor in batch.named_tensors().items()
    }
    n_exams, n_slots = batch.target.shape[1], batch.film_exam.shape[1]
    exams = torch.arange(n_slots, device=batch.film_exam.device) % max(1, n_exams)
    rows |= {
        "film_exam": exams.expand(len(chosen), n_slots),
        "exam_mask": torch.ones_like(rows["exam_mask"]),
        "canary": chosen,
    }
    return join_patients(batch, PatientBatch(*rows.values()))
