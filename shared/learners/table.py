"""The learners, by name: those of classes, and the one place that a new one of numbers is added to.

``LearnerSettings`` is what a stage of a plan carries: exactly the settings of the learner that its
``kind`` names. Imports every learner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.following import FOLLOWING, OfClasses
from shared.learners.proportional_hazards import (
    ProportionalHazards,
    ProportionalHazardsSettings,
)
from shared.learners.refused import require_possible
from shared.learners.second_moments import SecondMoments, SecondMomentsSettings
from shared.learners.selection import Selection, SelectionSettings
from shared.learners.task import TableTask
from shared.strict import list_mistakes
from shared.sums.contract import Learner

LearnerSettings = Annotated[
    OfClasses | ProportionalHazardsSettings | SecondMomentsSettings | SelectionSettings,
    Field(discriminator="kind"),
]
# Each takes its own settings, which the discriminator has matched.
_BUILDERS: Mapping[str, Callable[[Any, TableTask], Learner[Columns]]] = {
    **FOLLOWING,
    "proportional_hazards": ProportionalHazards.build,
    "second_moments": SecondMoments.build,
    "selection": Selection.build,
}
LEARNERS = tuple(sorted(_BUILDERS))
_SETTINGS: TypeAdapter[LearnerSettings] = TypeAdapter(LearnerSettings)


def build_learner(settings: LearnerSettings, task: TableTask) -> Learner[Columns]:
    """The learner of a plan's stage.

    Raises:
        SettingsError: it does not suit the task's target.
    """
    if task.follow_up is not None and settings.kind != "proportional_hazards":
        raise SettingsError(
            "not-of-follow-up",
            f"learner {settings.kind} cannot learn a time to event, of which a part is censored",
            hint="use learner=proportional_hazards, or learner=gradient with a fusion",
        )
    return _BUILDERS[settings.kind](settings, task)


def settle_learner(
    settings: LearnerSettings, task: TableTask, *, mu: float | None, training: Sequence[int]
) -> LearnerSettings:
    """The settings with what public values choose written down, for a plan.

    Args:
        settings: may leave open what goes by the noise.
        task: of the stage; its ε is None without privacy.
        mu: how loud the stage is, as ``gaussian_mu``; None without privacy.
        training: patients that each training site declares.
    """
    if settings.kind == "lda":
        return settings.model_copy(update={"reading": settings.reading_at(task.epsilon)})
    if settings.kind == "selection":
        by = settings.by
        if by.kind == "varclus":
            n_columns = len(settings.places(task.columns))
            by = by.with_noise(n_columns, epsilon=task.epsilon, mu=mu, training=training)
        then = settle_learner(settings.then, task, mu=mu, training=training)
        return settings.model_copy(update={"by": by, "then": then})
    return settings


def describe_learner(settings: LearnerSettings) -> str:
    """A settled learner by its kind, with what public values chose for it, for whoever reads a plan."""
    if settings.kind == "selection" and settings.by.kind == "varclus" and settings.by.is_loud:
        by = "clusters" if settings.by.public else "sizes"
        return (
            f"selection (columns kept by public {by}, at no price: the noise of clusters would be "
            f"{settings.by.noise:.2g} of a variance)"
        )
    return settings.kind


def require_prediction(settings: LearnerSettings) -> None:
    """Refuse a learner whose outputs are not the target: nothing can be validated or read of it.

    Raises:
        SettingsError: ``predicts-nothing``.
    """
    if settings.kind == "second_moments" and settings.read_as == "components":
        raise SettingsError(
            "predicts-nothing",
            "learner.read_as must be ridge, lasso or discriminants in a run, not components: these are "
            "directions of the columns and predict no target",
            hint="read a number as ridge or lasso, classes as discriminants; "
            "`osteofed-coordinator readings RUN` reads components of any such run",
        )


def read_learner(values: Mapping[str, object]) -> LearnerSettings:
    """Validate one learner's settings, as a YAML of ``configs/learner`` gives them.

    Raises:
        SettingsError: its ``kind`` is refused under differential privacy or unknown, or a setting is
            missing, unknown or out of range.
    """
    kind = str(values.get("kind"))
    require_possible(kind)
    if kind not in _BUILDERS:
        raise SettingsError("unknown-learner", f"learner must be one of {list(LEARNERS)}, not '{kind}'")
    try:
        return _SETTINGS.validate_python(dict(values))
    except ValidationError as error:
        lines = list_mistakes(error, whole="learner", shows_values=True)
        raise SettingsError(
            "invalid-learner",
            f"settings of learner {kind} are not valid:\n" + "\n".join(lines),
            hint=f"compare them with configs/learner/{kind}.yaml",
        ) from None
