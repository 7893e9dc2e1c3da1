"""An invented system of two arms at three hospitals, and lines of models that were never trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from server.experiments.deployed import Deployed
from server.experiments.harness import Kept, Line, models_of, settings_hashes
from server.experiments.outcome import Mean, Outcome, Row
from server.experiments.populations import HIP_TABLES
from server.experiments.system import Ablation, Arm, Setting, System
from server.simulation.looks import LOOKS
from shared.measures.bone import DELTA
from shared.measures.scored import Scored

CLAIM = "it was said so"
DAY = "2026-11-27"
TWO = System(
    name="two_heads",
    paper="a paper that was never written",
    population=HIP_TABLES,
    arms=(
        Arm(name="descent", settings=("experiment=hip_table",)),
        Arm(name="ridge", settings=("experiment=hip_table", "learner=second_moments")),
    ),
    ablations=(Ablation(first="descent", second="ridge", claim=CLAIM),),
    figures=("R²", "AUC"),
    stand_ins=("invented people",),
)
FEW = Setting(name="few", n_patients=100, n_seeds=1)
SEEDS = (101, 102)

SEEN = Deployed(
    system="two_heads",
    date="2026-01-02",
    n_patients=100,
    sites=(3, 1),
    rounds=3,
    epsilon=2.996,
    run_epsilon=3.5,
    seconds=61.2,
    measured=(3, 4),
    claims={"pass": 40, "not-run": 9},
    refuted=(),
)


def said(seed: int, error: float, shift: float = 0.0, n: int = 120) -> Scored:
    """BMD of invented people, read with an error of this SD."""
    draw = np.random.default_rng(seed)
    label = draw.normal(0.7, 0.12, n)
    output = label + shift + error * draw.normal(size=n)
    return Scored(output[:, None], label, np.zeros((n, 0)))


def keep_invented(
    work: Path,
    errors: Mapping[str, float],
    *,
    system: System = TWO,
    alone: Mapping[str, float] | None = None,
) -> Kept:
    """A line for every model: arms err by ``errors``, hospitals of ``alone`` by more."""
    kept = Kept(work)
    for model, arm, training in models_of(system, FEW, SEEDS):
        further = (alone or {}).get(training.sites[0], 0.0) if training.mode == "alone" else 0.0
        scored = {
            # the same people for every model of a population at a place
            place: said(model.seed * 100 + at, errors[arm.name] + further)
            for at, place in enumerate(training.places)
        }
        line = Line(
            model=model,
            kind=training.kind,
            epsilon=3.0 if training.is_private else None,
            patients={place: len(each) for place, each in scored.items()},
            figures=(),
            seconds=1.0,
            date=DAY,
            settings_sha256=settings_hashes(system)[arm.name, training.is_private],
        )
        kept.add(line, scored, np.zeros(1))
    return kept


def looked_outcome(
    name: str,
    figures: Mapping[tuple[str, str, str, str], float],
    against_clean: Mapping[tuple[str, str, str, str], float] | None = None,
) -> Outcome:
    """What was seen, ± .04, of (arm, training, place, figure); patients of each place count as 50."""
    rows = _rows_of(figures)
    return Outcome(
        system=name,
        setting="few",
        n_patients=100,
        seeds=(101,),
        date="2026-11-27",
        seconds=3,
        patients=dict.fromkeys((row.place for row in rows), 50),
        rows=rows,
        compared=(),
        against_clean=_rows_of(against_clean or {}),
    )


def _rows_of(figures: Mapping[tuple[str, str, str, str], float]) -> tuple[Row, ...]:
    return tuple(
        Row(
            arm=arm,
            kind=training.split(":")[0],
            training=training,
            place=place,
            figure=figure,
            mean=Mean(value=value, low=value - 0.04, high=value + 0.04, by_seed=(value,)),
        )
        for (arm, training, place, figure), value in figures.items()
    )


def looks(
    training: str, place: str, *, auc: float, delta: float, iou: float
) -> dict[tuple[str, str, str, str], float]:
    """Figures of one arm under a training at a place; those of no interest are 0."""
    values = dict.fromkeys(LOOKS, 0.0) | {"AUC": auc, DELTA: delta, LOOKS[3]: iou}
    return {("probe", training, place, figure): value for figure, value in values.items()}


def without_claim(system: System = TWO) -> System:
    """The same system, of whose arms nobody says an order."""
    return replace(system, ablations=tuple(replace(each, claim="") for each in system.ablations))
