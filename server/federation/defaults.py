"""Settings that follow from a cohort file, where nobody chose them: what is predicted, by which head.

Only what the schema says is used, never a patient: a plan's constants are public. Every setting that
was made up here is told, so that a real plan can name it. Imports the schema only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shared.errors import SettingsError
from shared.exam.schema import ClassLabel, CohortSchema, NumberLabel
from shared.exam.time_to_event import TimeToEventLabel

# A public range of targets is taken for five standard deviations, as for expected figures (D-070).
_SDS_IN_RANGE = 5
# Beyond the mean: what targets are clipped to, where scores are told apart, the largest error.
_TARGET_SDS, _SCORE_SDS, _ERROR_SDS = 2.7, 1.5, 2.0

_Made = dict[str, str | float]
# The task of a label's kind, whose settings follow from the label.
_TASK_OF = {
    "class": "classification",
    "number": "regression",
    "time_to_event": "survival",
}


def settings_for(schema: CohortSchema, given: Sequence[str]) -> list[str]:
    """Settings that a cohort still needs: without films or fields, with a class or number as label.

    Args:
        schema: the cohort's.
        given: settings that were chosen; none of them is made up, and beside an experiment none at all.

    Raises:
        SettingsError: the task that was chosen is not of the label's kind.
    """
    chosen = dict(word.partition("=")[::2] for word in given)
    if "experiment" in chosen:
        return []
    wanted = _TASK_OF.get(schema.label.kind)
    if wanted and chosen.get("task") in _TASK_OF.values() and chosen["task"] != wanted:
        raise SettingsError(
            "task-and-label",
            f"task {chosen['task']} needs another label than the cohort's, which is of kind "
            f"{schema.label.kind}",
            hint="classes of a label of kind class are a classification, a number a regression, a "
            "time_to_event a survival; of a bmd both have a task of their own: bmd_classes, "
            "bmd_regression",
        )
    made: _Made = {}
    if not schema.views:
        made |= {"encoder": "none", "fusion": "clinical_only"}
    elif not schema.fields:
        made |= {"fusion": "image_only"}
    if chosen.get("task") in (None, *_TASK_OF.values()):
        made |= _for_label(schema, chosen)
    return _as_words((name, value) for name, value in made.items() if name not in chosen)


def fill_open(
    schema: CohortSchema, composed: Mapping[str, object]
) -> tuple[dict[str, object], list[str]]:
    """Settings with what a chosen task or experiment leaves open, where the cohort's label says it.

    Args:
        schema: the cohort's.
        composed: settings by group; ``...`` stands for what is still to be given.

    Returns:
        The settings, and those that were filled in, for people to read.
    """
    groups = {name: dict(value) for name, value in composed.items() if isinstance(value, Mapping)}
    given = {f"task.{name}": str(value) for name, value in groups["task"].items() if value is not ...}
    made = {
        name: value
        for name, value in _for_label(schema, given).items()
        if _value_at(groups, name) is ...
    }
    for name, value in made.items():
        group, _, key = name.partition(".")
        groups[group][key] = value
    return {**composed, **groups}, _as_words(made.items())


def _value_at(groups: Mapping[str, Mapping[str, object]], name: str) -> object:
    group, _, key = name.partition(".")
    return groups.get(group, {}).get(key)


def _for_label(schema: CohortSchema, chosen: Mapping[str, str]) -> _Made:
    if schema.label.kind == "class":
        return _for_classes(schema.label)
    if schema.label.kind == "time_to_event":
        return _for_follow_up(schema.label)
    return _for_number(schema.label, chosen) if schema.label.kind == "number" else {}


def _for_follow_up(label: TimeToEventLabel) -> _Made:
    """Who has the label's public risk or more is called."""
    return {
        "task": "survival",
        "task.endpoint": label.event[0],
        "task.operating_point": label.reference_risk,
    }


def _for_classes(label: ClassLabel) -> _Made:
    """The last class is the endpoint: classes are written from well to ill."""
    last = label.classes[-1]
    made: _Made = {"task": "classification", "task.endpoint": last, "task.positive_class": last}
    if label.is_ordered and len(label.classes) > 2:
        made["learner"] = "proportional_odds"
    return made


def _for_number(label: NumberLabel, chosen: Mapping[str, str]) -> _Made:
    """A target of the label's reference or range, and an endpoint: a value below the mean."""
    span = label.high - label.low
    middle = (label.low + label.high) / 2 if label.reference_mean is None else label.reference_mean
    mean = _number(chosen.get("task.target_mean"), middle)
    sd = _number(chosen.get("task.target_sd"), label.reference_sd or span / _SDS_IN_RANGE)
    words = label.column.replace("_", " ")
    cut = _number(chosen.get("task.endpoint_threshold"), mean)
    is_above = chosen.get("task.endpoint_side") == "above"
    has_loss = chosen.get("learner", "gradient") == "gradient"
    loss = {"task.loss_threshold": cut, "task.loss_emphasis": 0.0, "task.loss_scale": sd / 4}
    numbers = {
        **(loss if has_loss else {}),
        "task.target_mean": mean,
        "task.target_sd": sd,
        "task.endpoint_threshold": cut,
        "task.operating_point": cut,
        "validation.target_low": max(label.low, mean - _TARGET_SDS * sd),
        "validation.target_high": min(label.high, mean + _TARGET_SDS * sd),
        "validation.score_low": mean - _SCORE_SDS * sd,
        "validation.score_high": mean + _SCORE_SDS * sd,
        "validation.error_high": _ERROR_SDS * sd,
    }
    return {
        "task": "regression",
        "task.target_unit": label.unit,
        "task.endpoint": f"{'high' if is_above else 'low'} {words}",
        "task.otherwise": f"{'low' if is_above else 'high'} {words}",
        **{name: float(f"{value:.6g}") for name, value in numbers.items()},
    }


def _number(text: str | None, otherwise: float) -> float:
    try:
        return otherwise if text is None else float(text)
    except ValueError:  # the settings say that it is none
        return otherwise


def _as_words(made: Iterable[tuple[str, str | float]]) -> list[str]:
    """Settings as Hydra takes them: the name of an option as it is, a text in quotes, a number."""
    return [
        f"{name}={value:.6g}"
        if isinstance(value, float)
        else f"{name}={_quoted(value) if '.' in name else value}"
        for name, value in made
    ]


def _quoted(text: str) -> str:
    """A text as Hydra takes any: in single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
