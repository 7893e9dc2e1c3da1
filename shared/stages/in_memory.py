"""A whole training over patients in memory: the plan's own sums and steps, without messages.

What is published, rehearsed and attacked is made by what sites and coordinator run. Imports the
gradient's sum and the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage
from shared.model.build import build_model
from shared.model.weights import flatten_weights
from shared.privacy.noise import NoiseStream
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageState
from shared.train.aggregate import tail_average
from shared.train.patients import PatientBatch


def first_weights(plan: Plan, *, encoder_file: Path | None = None) -> Vector:
    """Where a run of this plan begins, [p]."""
    return flatten_weights(build_model(plan.settings, plan.settings.seed, encoder_file))


def rounds_in_memory(
    plan: Plan,
    stage: GradientStage,
    patients: Mapping[str, PatientBatch],
    *,
    encoder_file: Path | None = None,
) -> Iterator[StageState]:
    """The state after each round of training, all rounds that the stage has.

    Args:
        plan: names the model, and each site's declared size and weight.
        stage: one of its stages, or a variation of one.
        patients: by site of the roster, those who take part; nobody else is waited for.
        encoder_file: as ``build_model`` takes it.

    Raises:
        PlanError: a site is not on the roster.
    """
    asked = sum_of(plan, stage, encoder_file=encoder_file)
    sites = [plan.entry(site) for site in patients]
    state = StageState(round=0, vector=first_weights(plan, encoder_file=encoder_file))
    for number in range(1, stage.rounds + 1):
        totals = [
            asked.answer(
                state.vector,
                patients[entry.site],
                round_number=number,
                declared_patients=entry.declared_patients,
                draw_normals=NoiseStream(),
            )
            for entry in sites
        ]
        state = asked.advance(state, totals, sites=sites)
        yield state


def train_in_memory(
    plan: Plan,
    stage: GradientStage,
    patients: Mapping[str, PatientBatch],
    *,
    encoder_file: Path | None = None,
) -> Vector:
    """The release [p] of a whole training: the average of its last rounds' weights.

    Arguments as ``rounds_in_memory``, and the same raises.
    """
    n_tail = stage.strategy.n_averaged(stage.rounds)
    vectors = [
        state.vector for state in rounds_in_memory(plan, stage, patients, encoder_file=encoder_file)
    ]
    return tail_average(vectors[-n_tail:])
