"""What settings say of one thing in two places, compared before anybody acts on them.

Asked wherever settings are read: at the coordinator when they are composed, at a site with its plan.
Each problem is a line of text that names both places. Imports nothing of the project when run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.contract.model_settings import ModelSettings, RegressionTask, TaskSettings
    from shared.contract.settings import ValidationSettings
    from shared.exam.schema import BmdLabel, CohortSchema, NumberLabel


def model_contradictions(settings: ModelSettings) -> Iterator[str]:
    """Between task, cohort, encoder, fusion and features."""
    yield from _task_contradictions(settings.task, settings.cohort)
    encoder, is_clinical = settings.encoder, settings.fusion.name == "clinical_only"
    if encoder.name == "none" and not is_clinical:
        yield "encoder none needs fusion clinical_only"
    if encoder.training != "frozen" and is_clinical:
        yield f"encoder.training {encoder.training} needs a fusion that reads films, not clinical_only"
    if encoder.name != "none" and not settings.cohort.views:
        yield f"encoder {encoder.name} needs at least one view in the cohort"
    is_read_alone = settings.fusion.name == "image_only" or (is_clinical and settings.features.of_films)
    if not settings.cohort.fields and not is_read_alone:
        yield f"fusion {settings.fusion.name} needs clinical fields in the cohort, image_only does not"
    kinds = [source.kind for source in settings.features.sources]
    if settings.features.of_films and not settings.cohort.views:
        yield f"features.sources {kinds} need at least one view in the cohort"
    images = [source for source in settings.features.sources if source.kind == "image"]
    if is_clinical and (kinds == ["image"] or any(image.components for image in images)):
        yield "features.sources image needs a fusion that reads films, not clinical_only"


def validation_contradictions(settings: ModelSettings, validation: ValidationSettings) -> Iterator[str]:
    """Between what a table counts and what the task calls or the cohort may hold."""
    low, high, task = validation.score_low, validation.score_high, settings.task
    if task.kind == "survival":
        return
    if task.kind == "classification":
        if (low, high) != (0.0, 1.0):
            yield (
                f"validation.score_low and score_high of classes must be 0 and 1, not {low:g} and "
                f"{high:g}; choose validation=probability"
            )
        return
    for place, cut in _cuts(task, "operating_point"):
        if not low < cut < high:
            yield (
                f"{place} {cut:g} must lie between validation.score_low {low:g} and score_high {high:g}"
            )
    label = settings.cohort.label
    if label.kind != "class" and not (
        validation.target_low < label.high and validation.target_high > label.low
    ):
        yield (
            f"validation.target_low {validation.target_low:g} to target_high "
            f"{validation.target_high:g} must overlap with what the label may be, {label.low:g} to "
            f"{label.high:g}"
        )


def split_contradictions(cohort: CohortSchema, *, is_private: bool) -> Iterator[str]:
    """Between how a cohort is split and what is promised of it."""
    if cohort.split.stratified and is_private:
        yield (
            "cohort.split.stratified needs privacy off and validation.release_class governed: where "
            "shares hold within each class, one patient moves others between splits"
        )


def _task_contradictions(task: TaskSettings, cohort: CohortSchema) -> Iterator[str]:
    label = cohort.label
    if task.kind == "survival":
        if label.kind != "time_to_event":
            yield f"task.kind survival needs a time_to_event label, not {label.kind}"
        return
    if task.kind == "regression":
        if label.kind == "class" or label.kind == "time_to_event":
            yield f"task.kind regression needs a bmd or number label, not {label.kind}"
        else:
            yield from _number_contradictions(task, label)
        return
    if label.kind == "number" or label.kind == "time_to_event":
        yield f"task.kind classification needs a class or bmd label, not {label.kind}"
        return
    if task.positive_class not in label.classes:
        last = label.classes[-1]
        yield (
            f"task.positive_class must be one of {list(label.classes)}, not {task.positive_class}; "
            f"for the last: task=classification task.endpoint='{last}' task.positive_class='{last}'"
        )
    if task.link == "odds" and not label.is_ordered:
        yield f"task.link odds needs classes in an order, not {list(label.classes)}"


def _number_contradictions(task: RegressionTask, label: BmdLabel | NumberLabel) -> Iterator[str]:
    if task.target_unit != label.unit:
        yield (f"task.target_unit must be cohort.label.unit '{label.unit}', not '{task.target_unit}'")
    named = [("task.target_mean", task.target_mean)]
    named += _cuts(task, "threshold")
    if task.loss_emphasis:
        named.append(("task.loss_threshold", task.loss_threshold))
    for place, value in named:
        if not label.low <= value <= label.high:
            yield (
                f"{place} {value:g} must lie between cohort.label.low {label.low:g} and high "
                f"{label.high:g}"
            )


def _cuts(task: RegressionTask, kind: str) -> list[tuple[str, float]]:
    """A regression's thresholds or operating points, each with its place."""
    first = "endpoint_threshold" if kind == "threshold" else kind
    cuts = [(f"task.{first}", float(getattr(task, first)))]
    return cuts + [(f"task.grades.{grade.name}.{kind}", getattr(grade, kind)) for grade in task.grades]
