"""What each schedule reached on public synthetic films, as ``make schedules`` measured it.

``configs/schedules.json`` lies beside the schedules and is written by that verb alone. A figure is
told of a plan only where model, task and schedule are those that were measured. Imports settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median_low

from pydantic import BaseModel

from server.federation.compose import CONFIGS
from shared.contract.model_settings import FusionSettings
from shared.contract.schedules import ScheduleRow, choose_row, signal_of
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.strict import FROZEN

MEASURED_FILE = CONFIGS / "schedules.json"


# 110 declared patients may be 114.
_ABOUT = 1.05


class MeasuredSchedule(BaseModel):
    """R² of one head under one schedule, of training sites with these declared sizes.

    Attributes:
        fusion: the head.
        schedule: its name.
        epsilon: of a patient, for training.
        declared: training patients of each site.
        row: steps and rate as they were run.
        r2: by training population, in the order of seeds.
    """

    model_config = FROZEN

    fusion: FusionSettings
    schedule: str
    epsilon: float
    declared: tuple[int, ...]
    row: ScheduleRow
    r2: tuple[float, ...]

    @property
    def typical_r2(self) -> float:
        """The (lower) median of the populations."""
        return median_low(self.r2)

    @property
    def signal(self) -> float:
        """``signal_of`` its ε and sizes."""
        return signal_of(self.epsilon, self.declared)


class MeasuredSchedules(BaseModel):
    """All of them, and what they have in common.

    Attributes:
        encoder_sha256: of the frozen encoder.
        cohort: name of the schema.
        clip_norm: of a patient's gradient.
        seeds: that drew the training populations.
        n_evaluated: fresh patients whom each model read.
        measured_utc: when.
        rows: a figure each.
    """

    model_config = FROZEN

    encoder_sha256: str
    cohort: str
    clip_norm: float
    seeds: tuple[int, ...]
    n_evaluated: int
    measured_utc: str
    rows: tuple[MeasuredSchedule, ...]

    def expected(
        self, settings: Settings, stage: GradientStage, declared: Sequence[int]
    ) -> MeasuredSchedule | None:
        """The measured figure that a plan may lean on; None where there is none.

        Of its own schedule that of the most signal, among those with no more signal and no more
        patients than the plan, as sizes are declared: to two digits.

        Args:
            settings: model, task and the schedule's name.
            stage: training as these settings plan it.
            declared: patients that each training site declares.
        """
        epsilon = settings.privacy.epsilon
        if epsilon is None or not self._is_of(settings, stage):
            return None
        if row_of(stage) != _row_for(settings, signal_of(epsilon, declared)):
            return None  # something was set by hand
        near = [
            each
            for each in self.rows
            if (each.fusion, each.schedule) == (settings.fusion, settings.schedule)
            and each.row == _row_for(settings, each.signal)
            and each.signal <= _ABOUT * signal_of(epsilon, declared)
            and sum(each.declared) <= _ABOUT * sum(declared)
        ]
        return max(near, key=lambda each: each.signal, default=None)

    def _is_of(self, settings: Settings, stage: GradientStage) -> bool:
        """Whether everything but head and steps is as it was measured."""
        encoder = settings.encoder
        is_plain = stage.strategy.name == "fedavg" and stage.sample_rate == 1 and stage.is_private
        is_its_encoder = (encoder.training, encoder.sha256) == ("frozen", self.encoder_sha256)
        return (
            is_plain
            and (is_its_encoder or settings.fusion.name == "clinical_only")
            and (settings.task.kind, settings.cohort.name) == ("regression", self.cohort)
            and stage.clip_norm == self.clip_norm
        )


def row_of(stage: GradientStage) -> ScheduleRow:
    """A stage's steps and rate, whatever chose them."""
    return ScheduleRow(
        learning_rate=stage.learning_rate,
        rounds=stage.rounds,
        local_steps=stage.local_steps,
        fold=stage.fold,
        local_tail=stage.local_tail,
    )


def _row_for(settings: Settings, signal: float) -> ScheduleRow:
    """What the settings' schedule asks at a signal, wherever in the table it stands."""
    row = choose_row(settings.schedules[settings.schedule], signal)
    return row.model_copy(update={"from_signal": None})


def read_measured(path: Path = MEASURED_FILE) -> MeasuredSchedules:
    """The figures in a file of ``make schedules``."""
    return MeasuredSchedules.model_validate_json(path.read_bytes())
