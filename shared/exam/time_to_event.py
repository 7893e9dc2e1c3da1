"""A time to event as one class of a public finite set: which interval, and what ended the follow-up.

Owns the label and what a model's hazards make of it. A patient is event-free until the event, a
competing event or the end of follow-up; time is cut at public edges, and of a pair (interval, end) a
class is made, so that a target stays one number. Imports nothing of the project but how contradictions
are told.

Source: Singer & Willett 1993 (J Educ Stat 18:155), discrete-time hazards; Gensheimer & Narasimhan 2019
(PeerJ 7:e6257), who is censored past the middle of an interval has survived it; Tutz & Schmid 2016
(Modeling Discrete Time-to-Event Data, ch. 8), cause-specific hazards of competing events.

Legend: k intervals · r causes · q classes, q = r·k + k + 1.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from shared.strict import FROZEN, refuse_contradictions

Floats = NDArray[np.float64]


class TimeToEventLabel(BaseModel):
    """A time from the exam's date, and how it ended: by the event, by a competing event, or censored.

    Attributes:
        column: of the time; at 0 nothing is known of a patient but that time began.
        unit: of the time and of the edges.
        status_column: of the word that says how the time ended.
        event: words for the event; the first is its name. Case does not matter.
        competing: words for an event after which the event cannot come, such as death; the first is its
            name. None: only one thing can happen.
        censored: words for the end of follow-up without either.
        edges: ends of the intervals, rising, in the unit; the last is the horizon.
        low: shortest time that is taken.
        high: longest time that is taken.
        reference_risk: public share with the event by the horizon, where hazards start.
    """

    model_config = FROZEN

    kind: Literal["time_to_event"] = "time_to_event"
    column: str
    unit: str
    status_column: str
    event: tuple[str, ...] = Field(min_length=1)
    competing: tuple[str, ...] = ()
    censored: tuple[str, ...] = Field(min_length=1)
    edges: tuple[float, ...] = Field(min_length=1, max_length=24)
    low: float = Field(default=0.0, ge=0)
    high: float
    reference_risk: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> TimeToEventLabel:
        words = [word.strip().lower() for word in (*self.event, *self.competing, *self.censored)]
        problems = []
        if len(set(words)) < len(words):
            problems.append("event, competing and censored must not share a word")
        if any(later <= before for before, later in pairwise((0.0, *self.edges))):
            problems.append(f"edges must be above 0, each above the one before, not {list(self.edges)}")
        if not self.low < self.high:
            problems.append(f"low {self.low:g} must be below high {self.high:g}")
        elif self.high < self.horizon:
            problems.append(f"high {self.high:g} must reach the last edge, {self.horizon:g}")
        elif len(self.causes) * self.start_hazard >= 1.0:
            problems.append(f"reference_risk {self.reference_risk:g} leaves nobody free of every cause")
        refuse_contradictions(problems)
        return self

    @property
    def is_ordered(self) -> bool:
        """Whether the classes stand in an order: two ends of one interval do not."""
        return False

    @property
    def horizon(self) -> float:
        """The last edge: what comes later is not predicted."""
        return self.edges[-1]

    @property
    def n_intervals(self) -> int:
        """k."""
        return len(self.edges)

    @property
    def causes(self) -> tuple[str, ...]:
        """Names of what can end the time, the event first."""
        return (self.event[0], *self.competing[:1])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names [q]: each cause by interval, then for how many whole intervals nothing happened."""
        ended = [f"{cause} by {edge:g}" for cause in self.causes for edge in self.edges]
        return (*ended, *(f"free for {edge:g}" for edge in (0.0, *self.edges)))

    def class_of(self, time: float, status: str) -> str | None:
        """The class of a time in the unit and of a cell's word; None: the word is none of these.

        What comes after the horizon is free for all intervals; who is censored has survived the
        intervals whose middle was reached.
        """
        word, k = status.strip().lower(), self.n_intervals
        kinds = (self.event, self.competing, self.censored)
        found = [word in {each.strip().lower() for each in kind} for kind in kinds]
        if not any(found):
            return None
        first_free, cause = len(self.causes) * k, found.index(True)
        if cause < 2 and time <= self.horizon:
            return self.classes[cause * k + sum(time > edge for edge in self.edges)]
        middles = [(low + high) / 2 for low, high in pairwise((0.0, *self.edges))]
        return self.classes[first_free + sum(time >= middle for middle in middles)]

    def exposures(self) -> Floats:
        """What a class says of each interval [q, k, 1 + r]: 1 where nothing, or this cause, happened.

        An interval of zeros says nothing: the patient was no longer at risk, or not yet known to be.
        So a class's log-likelihood is the sum of its exposures times the logs of the interval's
        probabilities, and of the last class the log of being free at the horizon.
        """
        k, r = self.n_intervals, len(self.causes)
        found = np.zeros(((r + 1) * k + 1, k, 1 + r))
        for cause in range(r):
            for interval in range(k):
                found[cause * k + interval, :interval, 0] = 1.0
                found[cause * k + interval, interval, 1 + cause] = 1.0
        for whole in range(k + 1):
            found[r * k + whole, :whole, 0] = 1.0
        return found

    def start_logit(self) -> float:
        """Log odds of a cause against nothing in an interval, before any training."""
        return math.log(self.start_hazard / (1.0 - len(self.causes) * self.start_hazard))

    @property
    def start_hazard(self) -> float:
        """Of each cause in an interval, before any training."""
        return float(1.0 - (1.0 - self.reference_risk) ** (1.0 / self.n_intervals))

    def counts_as(self) -> tuple[int, ...]:
        """What each class is at the horizon [q]: 0 the event, 1 none, −1 not known."""
        k, r = self.n_intervals, len(self.causes)
        return (*[0] * k, *[1] * (k * (r - 1)), *[-1] * k, 1)
