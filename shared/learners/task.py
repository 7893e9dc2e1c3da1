"""What a plan tells every learner of tables: its columns, its target, its seed and its ε.

All of it is public. Imports columns and errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import SettingsError
from shared.exam.time_to_event import TimeToEventLabel
from shared.features.columns import Column


@dataclass(frozen=True, kw_only=True)
class TableTask:
    """A plan's facts for a learner.

    Attributes:
        columns: in the patients' order.
        n_classes: how many classes the target has, in their order where they have one; 0: it is a
            number in public standard units.
        is_ordered: whether three or more classes have an order; two always have one.
        follow_up: the label of a time to event, of whose classes the target is one; ``n_classes`` is 0.
        seed: the plan's; draws public structure (trees, frequencies), never protective noise.
        epsilon: the stage's ε, by which public schedules choose; None for privacy off.
    """

    columns: tuple[Column, ...]
    n_classes: int = 0
    is_ordered: bool = False
    follow_up: TimeToEventLabel | None = None
    seed: int = 0
    epsilon: float | None = None


def require_follow_up(task: TableTask, *, kind: str) -> TimeToEventLabel:
    """The label of a time to event.

    Raises:
        SettingsError: ``needs-follow-up``: the target is no time to event.
    """
    if task.follow_up is None:
        raise SettingsError(
            "needs-follow-up",
            f"learner {kind} needs a time to event, not "
            f"{f'{task.n_classes} classes' if task.n_classes else 'a number'}",
            hint="choose a cohort whose label is of kind time_to_event, and task=survival",
        )
    return task.follow_up


def require_classes(task: TableTask, *, kind: str) -> None:
    """Refuse a task whose target is a number.

    Raises:
        SettingsError: ``needs-classes``.
    """
    if task.n_classes < 2:
        raise SettingsError(
            "needs-classes",
            f"learner {kind} needs a target of 2 or more classes, not a number",
            hint="choose experiment=bmd_classes, or another cohort and task of classes; for a number "
            "learner=second_moments",
        )


def require_order(task: TableTask, *, kind: str) -> None:
    """Refuse a task whose target is a number, or classes without an order.

    Raises:
        SettingsError: ``needs-classes`` or ``needs-ordered-classes``.
    """
    require_classes(task, kind=kind)
    if task.n_classes > 2 and not task.is_ordered:
        raise SettingsError(
            "needs-ordered-classes",
            f"learner {kind} needs 2 classes or classes in an order, not {task.n_classes} without one",
            hint="set cohort.label.is_ordered=true if label.classes stand in their order; else choose "
            "learner=soft_neighbours, forest or naive_bayes",
        )
