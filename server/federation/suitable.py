"""Whether a run's learner and measures suit its task, asked before a plan is written.

All that do not are named together. Imports the learners, the measures and the rule of classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shared.contract.settings import Settings
from shared.errors import SettingsError
from shared.learners.table import build_learner, require_prediction
from shared.measures.table import build_measure
from shared.stages.learner import table_task
from shared.stages.measure import measure_task


def require_suitable(settings: Settings) -> None:
    """Refuse a learner or measures that the task cannot have.

    Raises:
        SettingsError: the one mistake under its own code, or ``invalid`` with all of them.
    """
    checks: list[Callable[[], object]] = [
        partial(
            build_measure,
            request.measure,
            measure_task(settings, setting=f"measures.{name}.measure"),
        )
        for name, request in settings.measures.items()
    ]
    if settings.learner.kind != "gradient":
        checks.append(partial(build_learner, settings.learner, table_task(settings, 0.0)))
        checks.append(partial(require_prediction, settings.learner))
    mistakes = [mistake for check in checks if (mistake := _mistake_of(check)) is not None]
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise SettingsError(
            "invalid",
            f"{len(mistakes)} settings do not suit the task:\n"
            + "\n".join(f"  {mistake.fact}; {mistake.hint}" for mistake in mistakes),
            hint="choose other learners and measures, or another task",
        )


def _mistake_of(check: Callable[[], object]) -> SettingsError | None:
    try:
        check()
    except SettingsError as error:
        return error
    return None
