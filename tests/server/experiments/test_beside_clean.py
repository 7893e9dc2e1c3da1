"""What a marker changes: models of the same people's films with and without it, paired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from practice_experiments import FEW, SEEDS, TWO, keep_invented

from server.experiments.beside_clean import with_clean
from server.experiments.harness import Kept, measured_lines, models_of
from server.experiments.outcome import Outcome, outcome_of
from server.experiments.system import System, at_hospital
from server.simulation.looks import LOOKS
from shared.errors import RunError
from shared.measures.scored import Scored

DESIGN = at_hospital("aster")
LEAKS = replace(TWO, name="leaks", design=DESIGN, ablations=(), clean="clean")
CLEAN = replace(TWO, name="clean", design=DESIGN, ablations=())
N = 120


def kept_at(work: Path) -> Kept:
    """With the marker arms err less; each model is looked at inside and outside."""
    keep_invented(work, {"descent": 0.04, "ridge": 0.06}, system=LEAKS)
    kept = keep_invented(work, {"descent": 0.10, "ridge": 0.06}, system=CLEAN)
    for system, shift in ((LEAKS, 0.0), (CLEAN, 0.1)):
        look(kept, system, shift)
    return kept


def look(kept: Kept, system: System, shift: float) -> None:
    """Maps that agree by as much more, hidden films that are read as others."""
    lines = measured_lines(system, kept)
    for model, _, training in models_of(system, FEW, SEEDS):
        scored = kept.scored(model)
        draw = np.random.default_rng(model.seed)
        looked = {
            place: replace(
                scored[place],
                replaced=draw.normal(0.7, 0.1, (N, 2, 1)),
                is_assessed=np.ones(N, dtype=np.bool_),
                maps=draw.normal(0.0, 0.2, (N, 3)) + shift,
            )
            for place in training.looked_at
        }
        kept.add(lines[model], scored, np.zeros(1), looked)


def compared(kept: Kept) -> Outcome:
    outcome = outcome_of(LEAKS, FEW, SEEDS, kept)
    return with_clean(outcome, LEAKS, CLEAN, setting=FEW, seeds=SEEDS, kept=kept)


def test_each_model_is_compared_with_the_same_training_on_clean_films(tmp_path: Path) -> None:
    found = compared(kept_at(tmp_path))
    rows = {(row.arm, row.training, row.place, row.figure): row.mean for row in found.against_clean}
    trainings = [training.name for training in DESIGN(TWO.population)]
    assert {key[:3] for key in rows} == {
        (arm.name, training, place)
        for arm in TWO.arms
        for training in trainings
        for place in ("aster", "external")
    }
    own = {(row.arm, row.training, row.place, row.figure): row.mean for row in found.rows}
    for training in trainings:
        # an arm that errs less with the marker, and one that reads both alike
        less = rows["descent", training, "aster", "AUC"]
        assert less is not None
        assert less.low > 0
        alone = own["descent", training, "aster", "AUC"]
        assert alone is not None
        assert less.by_seed[0] < alone.by_seed[0]
        same = rows["ridge", training, "aster", "AUC"]
        assert same is not None
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
        # the same draw but for a constant: paired, it is told without error
        map_change = rows["ridge", training, "aster", LOOKS[3]]
        assert map_change is not None
        assert map_change.value == pytest.approx(-0.1)
        assert map_change.high - map_change.low < 1e-6


def test_other_people_are_not_compared(tmp_path: Path) -> None:
    kept = kept_at(tmp_path)
    model, *_ = next(models_of(CLEAN, FEW, SEEDS))
    scored = {
        place: Scored(each.outputs, each.label[::-1], each.fields)
        for place, each in kept.scored(model).items()
    }
    kept.add(kept.lines()[model], scored, np.zeros(1))
    with pytest.raises(RunError) as caught:
        compared(kept)
    assert caught.value.code == "run.other-people"


def test_what_nobody_looked_at_is_compared_by_its_ranking_alone(tmp_path: Path) -> None:
    keep_invented(tmp_path, {"descent": 0.04, "ridge": 0.06}, system=LEAKS)
    kept = keep_invented(tmp_path, {"descent": 0.10, "ridge": 0.06}, system=CLEAN)
    figures = {row.figure for row in compared(kept).against_clean}
    assert "AUC" in figures
    assert not figures & set(LOOKS)
