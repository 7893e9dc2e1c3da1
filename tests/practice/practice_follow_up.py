"""Times to an event with a planted hazard, and what they are cut into."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from shared.contract.decision import Decision
from shared.exam.time_to_event import TimeToEventLabel
from shared.features.columns import Columns
from shared.measures.scored import MeasureTask, Scored

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def label_of(**changes: object) -> TimeToEventLabel:
    """Fracture beside death, in years."""
    values = {
        "column": "years",
        "unit": "years",
        "status_column": "status",
        "event": ["fracture", "1"],
        "competing": ["death", "2"],
        "censored": ["alive", "0"],
        "edges": [1, 2, 3, 4, 5],
        "high": 60,
        **changes,
    }
    return TimeToEventLabel.model_validate(values)


FOLLOWED = label_of()
ALONE = label_of(competing=[])


@dataclass(frozen=True)
class Followed:
    """Columns [n,3] of which the first raises the hazard and the second lowers it; times and words."""

    columns: Floats
    years: Floats
    status: tuple[str, ...]
    risk: Floats  # of the event by five years, as the hazards have it

    def places(self, label: TimeToEventLabel) -> Floats:
        """The label's class of each patient [n]."""
        words = [label.class_of(*pair) for pair in zip(self.years, self.status, strict=True)]
        return np.array([label.classes.index(str(word)) for word in words], dtype=np.float64)

    def as_columns(self, label: TimeToEventLabel) -> Columns:
        """As a learner of tables takes them."""
        return Columns(self.columns, self.places(label))


def follow(n: int, *, seed: int = 0, competing: float = 0.05, base: float = 0.08) -> Followed:
    """Exponential times: an event, death where ``competing`` is above 0, leaving in 1 to 9 years."""
    draw = np.random.default_rng(seed)
    columns = draw.normal(size=(n, 3))
    hazard = base * np.exp(0.8 * columns[:, 0] - 0.5 * columns[:, 1])
    of_death = competing * np.exp(0.4 * columns[:, 0])
    event = draw.exponential(1.0 / hazard)
    death = draw.exponential(1.0 / of_death) if competing else np.full(n, np.inf)
    left = draw.uniform(1.0, 9.0, n)
    first = np.argmin([event, death, left], axis=0)
    words = np.array(["fracture", "death", "alive"])[first]
    all_hazards = hazard + of_death
    risk = hazard / all_hazards * -np.expm1(-5.0 * all_hazards)
    return Followed(columns, np.min([event, death, left], axis=0), tuple(map(str, words)), risk)


def task_of(label: TimeToEventLabel) -> MeasureTask:
    """What a measure may know of a plan that predicts it."""
    rule = Decision(
        classes=("fracture", "no fracture"),
        endpoint=0,
        output_cuts=(0.3,),
        counts_as=label.counts_as(),
    )
    return MeasureTask(rule, (), follow_up=label)


def scored(followed: Followed, label: TimeToEventLabel, risk: Floats | None = None) -> Scored:
    """The patients as a model of these risks reads them: all of the risk in the first interval."""
    outputs = np.zeros((len(followed.years), len(label.classes)))
    outputs[:, 0] = followed.risk if risk is None else risk
    return Scored(outputs, followed.places(label), np.zeros((len(outputs), 0)))


FIELDS = [
    {"name": name, "kind": "number", "low": -9, "high": 9, "reference_mean": 0, "reference_sd": 1}
    for name in ("first", "second", "third")
]


def write_cohort(path: Path, label: TimeToEventLabel = FOLLOWED) -> Path:
    """The cohort file of such tables."""
    content = {
        "name": "followed",
        "version": 1,
        "date_column": None,
        "fields": FIELDS,
        "label": label.model_dump(mode="json"),
        "split": {"train": 0.6, "tune": 0.0, "internal": 0.4},
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_table(path: Path, followed: Followed) -> Path:
    """One hospital's patients as a CSV file."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patient_id", "first", "second", "third", "years", "status"])
        for number, (columns, years, word) in enumerate(
            zip(followed.columns, followed.years, followed.status, strict=True)
        ):
            cells = [f"{value:.4f}" for value in (*columns, years)]
            writer.writerow([f"{path.stem}{number}", *cells, word])
    return path
