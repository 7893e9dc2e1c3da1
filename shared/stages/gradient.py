"""Training: sums of clipped patient gradients, folded at the site or at the coordinator.

At the coordinator, weights −= learning rate · Σ totals / Σ declared sizes: one exact step over all
sites; or the step that a robust rule makes of each site's total / declared size. At the site, the
bounded changes of the weights are put together by the plan's strategy. Imports the training loop,
aggregation and the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage
from shared.errors import WeightsError
from shared.privacy.noise import DrawNormals
from shared.stages.gradient_rows import PatientGradients
from shared.stages.stage_sum import (
    Bound,
    PromisedNoise,
    StageState,
    largest_noised,
    noise_of_rows,
    places_of,
)
from shared.sums.contract import Floats, State
from shared.train.aggregate import combined, next_weights, renormalised
from shared.train.canaries import AuditRegister
from shared.train.local_steps import weights_of_steps
from shared.train.patients import PatientBatch
from shared.train.robust import per_declared
from shared.train.update import train_sum, train_update


class GradientSum:
    """A gradient stage of a plan, for ``kinds.sum_of``.

    Args:
        plan: names the model.
        stage: one of its stages.
        encoder_file: as ``build_model`` takes it.
    """

    state_kind = "<f4"

    def __init__(self, plan: Plan, stage: GradientStage, encoder_file: Path | None) -> None:
        self._settings, self._stage, self._encoder_file = plan.settings, stage, encoder_file
        self._gradients = PatientGradients(
            settings=plan.settings,
            sums=stage.rounds,
            clip_norm=stage.clip_norm,
            learning_rate=stage.learning_rate * stage.strategy.server_learning_rate,
            sample_rate=stage.sample_rate,
            encoder_file=encoder_file,
        )
        self._start = self._gradients.start().vector.astype("<f4")
        self._length = self._start.size
        self.state_largest = plan.settings.caps.weight_max

    def start(self) -> StageState:
        """The model's initial weights, from the plan's seed and encoder."""
        return StageState(round=0, vector=self._start)

    def state_length(self, round_number: int) -> int:
        """p, the model's trainable weights."""
        return self._length

    def bound(self, round_number: int) -> Bound:
        """A change of the weights, bounded by the plan; or a noised sum."""
        if self._stage.fold == "site":
            return Bound(length=self._length, kind="<f4", norm_max=self._stage.update_norm_max)
        return Bound(length=self._length, kind="<f8")

    def largest(self, round_number: int, *, declared_patients: int) -> float:
        """The plan's bound of a change; or of a noised sum, capacity · C and the noise's radius."""
        stage = self._stage
        if stage.fold == "site":
            return stage.update_norm_max
        if not stage.is_private:
            return float(np.inf)  # unclipped gradients have no bound
        return largest_noised(
            bound=stage.clip_norm,
            noise_multiplier=stage.noise_multiplier,
            length=self._length,
            declared=declared_patients,
        )

    def promised(self, round_number: int, *, declared_patients: int) -> PromisedNoise:
        """That of a noised sum; or, of a change, what the noise of all its steps comes to."""
        stage, parts = self._stage, self._gradients.parts()
        noise_multiplier = stage.noise_multiplier if stage.is_private else 0.0
        if stage.fold == "coordinator":
            return noise_of_rows(bound=stage.clip_norm, noise_multiplier=noise_multiplier, parts=parts)
        row = stage.learning_rate * stage.clip_norm / (declared_patients * stage.sample_rate)
        pull = stage.strategy.proximal_mu if stage.strategy.name == "fedprox" else 0.0
        weights = weights_of_steps(
            stage.local_steps, kept=1.0 - stage.learning_rate * pull, local_tail=stage.local_tail
        )
        return PromisedNoise(
            row=row,
            sd=noise_multiplier * row * math.hypot(*weights),
            fresh_sd=noise_multiplier * row * weights[-1],
            spacing=0.0,
            parts=parts,
        )

    def answer(
        self,
        vector: Vector,
        patients: object,
        *,
        round_number: int,
        declared_patients: int,
        draw_normals: DrawNormals,
        register: AuditRegister | None = None,
    ) -> Vector:
        """The change of the weights after the local steps, or one noised sum of clipped gradients."""
        if not isinstance(patients, PatientBatch):
            raise WeightsError("wrong-patients", "training takes a batch of patients")
        places = places_of(self._settings, self._stage, declared_patients=declared_patients)
        if self._stage.fold == "coordinator":
            return train_sum(
                self._settings,
                self._stage,
                patients,
                vector,
                draw_normals=draw_normals,
                register=register,
                encoder_file=self._encoder_file,
                places=places,
            )
        return train_update(
            self._settings,
            self._stage,
            patients,
            vector,
            divisor=declared_patients,
            draw_normals=draw_normals,
            register=register,
            encoder_file=self._encoder_file,
            places=places,
        )

    def advance(
        self, state: StageState, totals: Sequence[Vector], *, sites: Sequence[RosterEntry]
    ) -> StageState:
        """The weights after a round, from what the sites present sent, in roster order."""
        stage = self._stage
        if stage.fold == "site":
            weights, memory = next_weights(
                state.vector,
                totals,
                shares=renormalised([entry.weight for entry in sites]),
                memory=state.memory,
                strategy=stage.strategy,
            )
            return StageState(round=state.round + 1, vector=weights, memory=memory)
        n_declared = float(sum(entry.declared_patients for entry in sites))
        if stage.strategy.is_robust:
            total = n_declared * self._robust_mean(totals, sites)
        else:
            total = np.zeros(self._length)
            for each in totals:
                total += each
        moved = self._gradients.advance(
            State(state.vector.astype(np.float64), state.round),
            total,
            sd=stage.noise_multiplier * stage.clip_norm * math.sqrt(len(totals)),
            n_declared=n_declared,
        )
        return StageState(round=state.round + 1, vector=moved.vector.astype("<f4"))

    def _robust_mean(self, totals: Sequence[Vector], sites: Sequence[RosterEntry]) -> Floats:
        declared = [entry.declared_patients for entry in sites]
        changes = per_declared(totals, declared, fold="coordinator")
        return combined(changes, shares=(), strategy=self._stage.strategy)
