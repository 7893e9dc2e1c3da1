"""Which class a true value is of, and which class an output is called: one rule for every reader.

Tables, reports and the reading of one patient ask here, so that the class that is validated is the
class that is read. A release carries its rule. Imports settings only.
Legend: n patients · o outputs (1 in regression, else one probability per class).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from shared.contract.model_settings import ModelSettings
from shared.errors import ProtocolError, SettingsError
from shared.strict import FROZEN

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# A value typed with three decimals went through float32 on its way here: it stays on its cut.
_DECIMALS = 6


class Decision(BaseModel):
    """From a true value and from an output to a class.

    Attributes:
        classes: in regression by rising value, parted by ``label_cuts``; in classification as the label
            names them.
        endpoint: place of the class that counts as positive; in regression the first, and what lies on
            a cut is of the class below it, or the last, and it is of the one above.
        label_cuts: of the true value, rising; none in classification.
        output_cuts: in regression one for each of ``label_cuts``; in classification the least
            probability from which on the endpoint is called.
        is_ordered: whether the classes stand in an order, such as stages.
        counts_as: in time to event, which of ``classes`` each of the label's is at the horizon, −1: not
            known; outputs are of the label's classes, and those of one class here add up.
    """

    model_config = FROZEN

    classes: tuple[str, ...] = Field(min_length=2)
    endpoint: int = Field(ge=0)
    label_cuts: tuple[float, ...] = ()
    output_cuts: tuple[float, ...] = Field(min_length=1)
    is_ordered: bool = False
    counts_as: tuple[int, ...] = ()

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a release of before, when no class was made of others, keeps its hash
        return {name: value for name, value in write(self).items() if name != "counts_as" or value}

    @property
    def is_regression(self) -> bool:
        """Whether a value is predicted."""
        return bool(self.label_cuts)

    @property
    def is_low_positive(self) -> bool:
        """Whether a low score is suspicious: of a value whose endpoint lies below its cut."""
        return self.is_regression and self.endpoint == 0

    @property
    def operating_point(self) -> float:
        """The output from which on, downwards where a low one is positive, the endpoint is called."""
        return self.output_cuts[0 if self.endpoint == 0 else -1]

    def score(self, outputs: Floats) -> Floats:
        """What ranks patients: the predicted value, or the endpoint's probability. [n,o] -> [n]."""
        score: Floats = self.chances(outputs)[:, 0 if self.is_regression else self.endpoint]
        return score

    def chances(self, outputs: Floats) -> Floats:
        """Probability of each class, or the predicted value: [n,o] -> [n,c], [n,1] in regression."""
        self._require_outputs(outputs)
        if not self.counts_as:
            return outputs
        # one column after the other, so that a patient's sum is that patient's alone, bit for bit
        places = [place for place, known in enumerate(self.counts_as) if known == self.endpoint]
        with np.errstate(over="ignore", invalid="ignore"):
            risk = sum((outputs[:, place] for place in places), np.zeros(len(outputs)))
        return np.stack([risk, 1.0 - risk], axis=1)

    def class_of(self, label: Floats) -> Indices:
        """Places of the true classes; −1 where there is no label, or none of these. [n] -> [n]."""
        if not self.is_regression:
            known = np.array(self.counts_as or range(len(self.classes)))
            is_one = (label >= 0) & (label < len(known)) & (label == np.floor(label))
            place = known[np.where(is_one, label, 0).astype(np.intp)]
            return np.where(is_one, place, -1).astype(np.intp)
        with np.errstate(over="ignore"):  # so large a label is rounded to infinity, above all cuts
            rounded = np.round(label, _DECIMALS)
        place = np.searchsorted(self.label_cuts, rounded, side=self._side)
        return np.where(np.isfinite(label), place, -1).astype(np.intp)

    def call(self, outputs: Floats) -> Indices:
        """Places of the called classes. [n,o] -> [n].

        In classification the endpoint from its cut on, else the likeliest of the others. Where an
        output is no number, the class that lies furthest from the endpoint. Outputs of any precision
        are compared in that of the cuts, so that who is validated and who is read are called alike.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        score, last = self.score(outputs), len(self.classes) - 1
        if self.is_regression:
            called = np.searchsorted(self.output_cuts, score, side=self._side).astype(np.intp)
        else:
            others = self.chances(outputs).copy()
            others[:, self.endpoint] = -np.inf
            called = np.where(score >= self.operating_point, self.endpoint, others.argmax(axis=1))
        furthest = last if 2 * self.endpoint <= last else 0
        return np.where(np.isfinite(outputs).all(axis=1), called, furthest)

    def likeliest(self, outputs: Floats) -> Indices:
        """In classification, places of the classes with the highest probability. [n,o] -> [n]."""
        found: Indices = self.chances(outputs).argmax(axis=1)
        return found

    def is_positive(self, label: Floats) -> Bools:
        """Which patients have the endpoint. [n] -> [n]."""
        found: Bools = self.class_of(label) == self.endpoint
        return found

    def in_words(self, unit: str = "") -> str:
        """The rule that calls a class, for example ``osteoporosis at ≤ 0.6 g/cm2``."""
        sign = "≤" if self.is_low_positive else "≥"
        rule = f"{self.classes[self.endpoint]} at {sign} {self.operating_point:g} {unit}".rstrip()
        has_others = not self.is_regression and len(self.classes) > 2
        return f"{rule}, else the likeliest of the others" if has_others else rule

    @property
    def _side(self) -> Literal["left", "right"]:
        """Of a cut, where a value that equals it belongs: to the endpoint's side."""
        return "left" if self.is_low_positive else "right"

    def _require_outputs(self, outputs: Floats) -> None:
        expected = 1 if self.is_regression else len(self.counts_as or self.classes)
        if outputs.ndim != 2 or outputs.shape[1] != expected:
            raise ProtocolError(
                "wrong-outputs", f"a decision takes {expected} outputs a patient, not {outputs.shape}"
            )


def decision_of(settings: ModelSettings) -> Decision:
    """The rule of a plan's task and label.

    Raises:
        SettingsError: the positive class is none of the label's.
    """
    task, label = settings.task, settings.cohort.label
    if task.kind == "regression":
        graded, is_below = task.grades, task.endpoint_side == "below"
        # from the endpoint on; a decision has them by rising value
        classes = (task.endpoint, *(grade.name for grade in graded), task.otherwise)
        label_cuts = (task.endpoint_threshold, *(grade.threshold for grade in graded))
        output_cuts = (task.operating_point, *(grade.operating_point for grade in graded))
        step = 1 if is_below else -1
        return Decision(
            classes=classes[::step],
            endpoint=0 if is_below else len(classes) - 1,
            label_cuts=label_cuts[::step],
            output_cuts=output_cuts[::step],
            is_ordered=True,
        )
    if task.kind == "survival":
        return Decision(
            classes=(task.endpoint, f"no {task.endpoint}"),
            endpoint=0,
            output_cuts=(task.operating_point,),
            counts_as=label.counts_as() if label.kind == "time_to_event" else (),
        )
    classes = () if label.kind == "number" else label.classes
    if task.positive_class not in classes:
        raise SettingsError(
            "unknown-class",
            f"task.positive_class must be one of {list(classes)}, not {task.positive_class}",
            hint="name the class whose probability is the score of a validation",
        )
    return Decision(
        classes=classes,
        endpoint=classes.index(task.positive_class),
        output_cuts=(task.operating_point,),
        is_ordered=label.kind != "number" and label.is_ordered,
    )
