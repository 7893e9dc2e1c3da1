"""Patient gradients on the contract of sums: the row of a patient is the clipped gradient of the loss.

What ``clipped_sum`` adds fast, row by row: the conformance suite holds the two to each other, and both
to the law that a row is its patient's alone. Imports the gradient engine and the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from shared.contract.model_settings import ModelSettings
from shared.model.build import build_model
from shared.model.weights import flatten_weights, layout, load_flat
from shared.sums.contract import Floats, State
from shared.sums.lattice import spacing_of
from shared.train.loss import make_patient_loss
from shared.train.patient_gradients import clipped_sum, clipped_units, gradient_rows
from shared.train.patients import PatientBatch


@dataclass(frozen=True)
class PatientGradients:
    """State [p], the trainable weights; each sum is one step down the mean gradient.

    Attributes:
        settings: name model and task.
        sums: how many.
        clip_norm: L2 bound of a patient's gradient.
        learning_rate: of a step.
        sample_rate: chance of a patient to be in a sum, by which a step is divided.
        encoder_file: as ``build_model`` takes it.
    """

    settings: ModelSettings
    sums: int
    clip_norm: float
    learning_rate: float
    sample_rate: float = 1.0
    encoder_file: Path | None = None

    def start(self) -> State:
        """The model's initial weights, from the settings' seed."""
        return State(flatten_weights(self._model()).astype(np.float64))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return (1.0 / self.sums,) * self.sums

    def length(self, state: State) -> int:
        """p."""
        return len(state.vector)

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.clip_norm

    def rows(self, state: State, patients: PatientBatch) -> Floats:
        """Clipped gradients [n, p], on the lattice already."""
        model, loss = self._model(state), make_patient_loss(self.settings.task)
        units = [
            clipped_units(rows, clip_norm=self.clip_norm)
            for rows in gradient_rows(model, patients, loss=loss)
        ]
        joined = torch.cat([torch.zeros(0, len(state.vector), dtype=torch.float64), *units])
        rows: Floats = joined.numpy() * spacing_of(self.clip_norm)
        return rows

    def quick_total(self, state: State, patients: PatientBatch) -> Floats:
        """The sum of the rows as training takes it."""
        model, loss = self._model(state), make_patient_loss(self.settings.task)
        total: Floats = clipped_sum(model, patients, loss=loss, clip_norm=self.clip_norm).numpy()
        return total

    def parts(self) -> dict[str, slice]:
        """Where each tensor lies in the weights, by name."""
        found, start = {}, 0
        for name, shape in layout(self._model()):
            found[name] = slice(start, start + math.prod(shape))
            start = found[name].stop
        return found

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One step: weights − learning rate · total / declared patients."""
        del sd
        step = self.learning_rate / (self.sample_rate * n_declared)
        return State(state.vector - step * total, state.sums_done + 1)

    def _model(self, state: State | None = None) -> nn.Module:
        model = build_model(self.settings, self.settings.seed, self.encoder_file)
        if state is not None:
            load_flat(model, state.vector)
        return model
