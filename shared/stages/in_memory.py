"""A whole training over patients in memory: the plan's own sums and steps, without messages.

What is published, rehearsed and attacked is made by what sites and coordinator run. Imports every kind
of sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import GradientStage, TrainingStage
from shared.privacy.noise import NoiseStream
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageState
from shared.train.aggregate import tail_average
from shared.train.patients import PatientBatch


def rounds_in_memory(
    plan: Plan,
    stage: TrainingStage,
    patients: Mapping[str, PatientBatch],
    *,
    start: Vector | None = None,
    encoder_file: Path | None = None,
) -> Iterator[StageState]:
    """The state that training starts from, then that after each round of the stage.

    Args:
        plan: names the model, and each site's declared size and weight.
        stage: one of its stages, or a variation of one.
        patients: by site of the roster, those who take part; nobody else is waited for.
        start: state of another training that this one goes on from; None: the stage's own first.
        encoder_file: as ``build_model`` takes it.

    Raises:
        PlanError: a site is not on the roster.
    """
    asked = sum_of(plan, stage, encoder_file=encoder_file)
    sites = [plan.entry(site) for site in patients]
    state = asked.start() if start is None else StageState(round=0, vector=start)
    yield state
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


def finish_in_memory(
    plan: Plan,
    stage: TrainingStage,
    patients: Mapping[str, PatientBatch],
    *,
    start: Vector | None = None,
    encoder_file: Path | None = None,
) -> StageState:
    """The last state of a whole training, with its memory; its vector is the release.

    Of gradients the release is the average of the last rounds' weights. Arguments as
    ``rounds_in_memory``, and the same raises.
    """
    n_tail = stage.strategy.n_averaged(stage.rounds) if isinstance(stage, GradientStage) else 1
    states = list(rounds_in_memory(plan, stage, patients, start=start, encoder_file=encoder_file))
    vectors = [state.vector for state in states[-n_tail:]]
    return replace(states[-1], vector=tail_average(vectors) if n_tail > 1 else vectors[-1])


def train_in_memory(
    plan: Plan,
    stage: TrainingStage,
    patients: Mapping[str, PatientBatch],
    *,
    start: Vector | None = None,
    encoder_file: Path | None = None,
) -> Vector:
    """The release [d] of a whole training, as ``finish_in_memory`` has it."""
    return finish_in_memory(plan, stage, patients, start=start, encoder_file=encoder_file).vector
