"""What each schedule would cost and reach, shown with a plan before anything runs.

Messages and bytes are the plan's own; hours follow from the declared link; R² was measured on synthetic
films. Imports plan and measured schedules.
"""

from __future__ import annotations

import numpy as np

from server.encoders.file import encoder_file
from server.federation.link import link_hours
from server.federation.measured import MeasuredSchedule, MeasuredSchedules
from server.federation.plan import gradient_stage
from shared.contract.plan import Plan
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageSum

SCHEDULES_TITLE = (
    "schedules: messages of training, hours on the declared link (computing besides), "
    "and what was measured on fresh synthetic films"
)
SCHEDULE_COLUMNS = (
    *("schedule", "messages per site", "steps", "MB per site", "hours on the link"),
    "on synthetic films",
)
CHOSEN, NOT_MEASURED = "chosen: ", "not measured"
_MB = 1e6


def schedule_rows(settings: Settings, plan: Plan, measured: MeasuredSchedules) -> list[tuple[str, ...]]:
    """A row of ``SCHEDULE_COLUMNS`` per schedule that would train otherwise, the chosen one first.

    Args:
        settings: of which the plan was drafted.
        plan: the plan; one that does not train by gradients has no rows.
        measured: figures on public films.
    """
    if plan.training is None:
        return []
    declared = [entry.declared_patients for entry in plan.roster if entry.role == "training"]
    n_parameters = _sum_of(plan, plan.training).state_length(1)
    stages = {settings.schedule: plan.training}
    for name in settings.schedules:
        asked = settings.model_copy(update={"schedule": name})
        other = gradient_stage(asked, n_parameters=n_parameters, training=declared)
        if other not in stages.values():
            stages[name] = other
    rows: list[tuple[str, ...]] = []
    for name, stage in stages.items():
        asked = settings.model_copy(update={"schedule": name})
        n_bytes = message_bytes(plan, stage)
        hours = link_hours(stage.rounds, n_bytes, settings.federation)
        rows.append(
            (
                CHOSEN + name if name == settings.schedule else name,
                f"{stage.rounds}",
                f"{stage.total_steps}",
                f"{stage.rounds * n_bytes / _MB:.3g}",
                write_hours(hours),
                write_measured(measured.expected(asked, stage, declared)),
            )
        )
    return rows


def message_bytes(plan: Plan, stage: GradientStage) -> int:
    """Bytes of the weights that a site is sent in a round and of the total that it sends back."""
    asked = _sum_of(plan, stage)
    bound = asked.bound(1)
    return asked.start().vector.nbytes + bound.length * np.dtype(bound.kind).itemsize


def write_hours(hours: float) -> str:
    """Hours as a person plans with them."""
    if hours < 0.01:
        return "under 0.01"
    return f"{hours:.2f}" if hours < 10 else f"{hours:,.0f}"


def write_measured(found: MeasuredSchedule | None) -> str:
    """A figure with the ε and the patients it was measured with."""
    if found is None:
        return NOT_MEASURED
    n_sites, n_patients = len(found.declared), sum(found.declared)
    where = f"{n_sites} site{'s' if n_sites > 1 else ''}"
    known = f"ε {found.epsilon:g}, {n_patients} synthetic patients of {where}"
    return f"R² {found.typical_r2:.2f} ({known})"


def _sum_of(plan: Plan, stage: GradientStage) -> StageSum:
    encoder = plan.settings.encoder
    return sum_of(
        plan, stage, encoder_file=None if encoder.training == "frozen" else encoder_file(encoder)
    )
