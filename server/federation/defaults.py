"""Settings that follow from a cohort file, where nobody chose them: what is predicted, by which head.

Only what the schema says is used, never a patient: a plan's constants are public. Every setting that
was made up here is told, so that a real plan can name it. Imports the schema only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.errors import SettingsError
from shared.exam.schema import ClassLabel, CohortSchema, NumberLabel

# A public range of targets is taken for five standard deviations, as for expected figures (D-070).
_SDS_IN_RANGE = 5
# Beyond the mean: what targets are clipped to, where scores are told apart, the largest error.
_TARGET_SDS, _SCORE_SDS, _ERROR_SDS = 2.7, 1.5, 2.0


def settings_for(schema: CohortSchema, given: Sequence[str]) -> list[str]:
    """Settings that a cohort without films, with a class or a number as label, still needs.

    Args:
        schema: the cohort's.
        given: settings that were chosen; none of them is made up, and beside an experiment none at all.

    Raises:
        SettingsError: the task that was chosen is not of the label's kind.
    """
    chosen = dict(word.partition("=")[::2] for word in given)
    if "experiment" in chosen:
        return []
    wanted = {"class": "classification", "number": "regression"}.get(schema.label.kind)
    if wanted and chosen.get("task") in ("regression", "classification") and chosen["task"] != wanted:
        raise SettingsError(
            "task-and-label",
            f"task {chosen['task']} needs another label than the cohort's, which is of kind "
            f"{schema.label.kind}",
            hint="classes of a label of kind class are a classification, a number a regression; of a "
            "bmd both have a task of their own: bmd_classes, bmd_regression",
        )
    made: dict[str, str] = {}
    if not schema.views:
        made |= {"encoder": "none", "fusion": "clinical_only"}
    if chosen.get("task") in (None, "regression", "classification"):
        if schema.label.kind == "class":
            made |= _for_classes(schema.label)
        elif schema.label.kind == "number":
            made |= _for_number(schema.label, chosen)
    return [f"{name}={value}" for name, value in made.items() if name not in chosen]


def _for_classes(label: ClassLabel) -> dict[str, str]:
    """The last class is the endpoint: classes are written from well to ill."""
    last = _quoted(label.classes[-1])
    made = {"task": "classification", "task.endpoint": last, "task.positive_class": last}
    if label.is_ordered and len(label.classes) > 2:
        made["learner"] = "proportional_odds"
    return made


def _for_number(label: NumberLabel, chosen: Mapping[str, str]) -> dict[str, str]:
    """A target of the label's range, and an endpoint: a value below the mean."""
    span = label.high - label.low
    mean = _number(chosen.get("task.target_mean"), (label.low + label.high) / 2)
    sd = _number(chosen.get("task.target_sd"), span / _SDS_IN_RANGE)
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
        "task.target_unit": _quoted(label.unit),
        "task.endpoint": _quoted(f"{'high' if is_above else 'low'} {words}"),
        "task.otherwise": _quoted(f"{'low' if is_above else 'high'} {words}"),
        **{name: f"{value:.6g}" for name, value in numbers.items()},
    }


def _number(text: str | None, otherwise: float) -> float:
    try:
        return otherwise if text is None else float(text)
    except ValueError:  # the settings say that it is none
        return otherwise


def _quoted(text: str) -> str:
    """A text as Hydra takes any: in single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
