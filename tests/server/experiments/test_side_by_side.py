"""Populations that are measured beside each other leave the lines that one process would leave."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from practice_experiments import SEEDS, TWO

from server.experiments.harness import Kept, Line, models_of
from server.experiments.populations import Population
from server.experiments.side_by_side import measure_side_by_side
from server.experiments.system import Setting, System, Training
from server.experiments.systems import SYSTEMS

TINY = Setting(name="tiny", n_patients=100, n_seeds=2)


def pooled_alone(population: Population) -> tuple[Training, ...]:
    """Without noise, so that two runs can be compared."""
    return (Training(mode="pooled", sites=population.training, is_private=False, places=("external",)),)


ONE = replace(TWO, arms=TWO.arms[1:], ablations=(), design=pooled_alone)


def measure(system: System, work: Path, processes: int) -> dict[int, Line]:
    measure_side_by_side([system], TINY, SEEDS, work=work, processes=processes)
    return {model.seed: line for model, line in Kept(work).lines().items()}


@pytest.mark.slow
def test_two_processes_leave_what_one_leaves(tmp_path: Path) -> None:
    together, one = (measure(ONE, tmp_path / str(n), n) for n in (2, 1))
    assert together.keys() == one.keys() == set(SEEDS)
    for model, _, _ in models_of(ONE, TINY, SEEDS):
        assert together[model.seed].figures == one[model.seed].figures
        ours, theirs = (Kept(tmp_path / str(n)).scored(model)["external"] for n in (2, 1))
        np.testing.assert_array_equal(ours.outputs, theirs.outputs)


def test_every_system_can_be_handed_to_another_process() -> None:
    for system in SYSTEMS:
        assert repr(pickle.loads(pickle.dumps(system))) == repr(system)  # our own bytes


def test_what_stops_one_population_is_not_lost(tmp_path: Path) -> None:
    unknown = replace(ONE, arms=(replace(ONE.arms[0], settings=("experiment=none_such",)),))
    with pytest.raises(Exception, match="none_such"):
        measure_side_by_side([unknown], TINY, SEEDS, work=tmp_path, processes=2)
