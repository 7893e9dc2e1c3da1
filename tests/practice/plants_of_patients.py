"""Ways to break who is measured, what a change is divided by, and what leaves or is added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from torch import Tensor

import client.answers.asked
import shared.stages.gradient
import shared.train.local_steps
from shared.stages.stage_sum import StageState
from shared.train.patients import PatientBatch


def divisor_from_the_data(patch: pytest.MonkeyPatch) -> None:
    """A sum is divided by how many patients there are, not by how many were declared."""
    module = shared.stages.gradient
    honest = module.train_update

    def counted(
        settings: object, stage: object, batch: PatientBatch, weights: object, **names: object
    ) -> object:
        names["divisor"] = max(1, len(batch))
        return honest(settings, stage, batch, weights, **names)  # type: ignore[arg-type]

    patch.setattr(module, "train_update", counted)


def validated_on_training(patch: pytest.MonkeyPatch) -> None:
    """An internal validation reads the patients of the training."""
    splits = client.answers.asked._SPLITS | {"internal": "train"}
    patch.setattr(client.answers.asked, "_SPLITS", splits)


def update_unbounded(patch: pytest.MonkeyPatch) -> None:
    """A finished change leaves as long as it is."""

    def as_it_is(change: Tensor, *, norm_max: float) -> np.ndarray:
        return change.detach().to("cpu").float().numpy()

    patch.setattr(shared.train.local_steps, "bound_update", as_it_is)


def total_added_twice(patch: pytest.MonkeyPatch) -> None:
    """The coordinator adds the first site's total twice."""
    honest = shared.stages.gradient.GradientSum.advance

    def twice(
        self: shared.stages.gradient.GradientSum,
        state: StageState,
        totals: Sequence[np.ndarray],
        *,
        sites: Sequence[object],
    ) -> StageState:
        return honest(self, state, [2 * totals[0], *totals[1:]], sites=sites)  # type: ignore[arg-type]

    patch.setattr(shared.stages.gradient.GradientSum, "advance", twice)
