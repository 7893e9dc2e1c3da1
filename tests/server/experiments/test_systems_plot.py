"""Plots of the systems: a dot for every arm at every tick, whatever the ticks are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from practice_experiments import FEW, SEEDS, TWO, keep_invented

from server.experiments.outcome import Outcome, outcome_of
from server.experiments.populations import EIGHT_TABLES
from server.experiments.system import System, leave_one_out
from server.experiments.systems_plot import is_by_place, kinds_of, plots_of

EIGHT = replace(
    TWO, name="eight", population=EIGHT_TABLES, arms=TWO.arms[:1], ablations=(), design=leave_one_out
)


def outcome(folder: Path, system: System) -> Outcome:
    kept = keep_invented(folder, {"descent": 0.05, "ridge": 0.06}, system=system, alone={"birch": 0.1})
    return outcome_of(system, FEW, SEEDS, kept)


@pytest.mark.parametrize(
    ("system", "n_dots"), [(TWO, 2 * 4), (EIGHT, 4 * 8)], ids=["by place", "eight"]
)
def test_a_plot_has_a_dot_for_every_arm_at_every_tick(
    system: System, n_dots: int, tmp_path: Path
) -> None:
    [(name, drawn)] = plots_of([system], [outcome(tmp_path, system)]).items()
    assert name == f"docs/pictures/experiments-{system.name}.svg"
    circles = list(ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == n_dots


def test_hospitals_alone_are_one_dot_at_their_mean(tmp_path: Path) -> None:
    found = outcome(tmp_path, TWO)
    assert is_by_place(found)
    assert kinds_of(found)[-1] == "alone"
    alone = [
        row.mean.value
        for row in found.rows
        if (row.arm, row.kind, row.place, row.figure) == ("descent", "alone", "prospective", "R²")
    ]
    assert len(alone) == 3
    [drawn] = plots_of([TWO], [found]).values()
    said = ElementTree.fromstring(drawn).findtext("{http://www.w3.org/2000/svg}desc")
    assert f"alone: {sum(alone) / 3:.3f} (" in said.split("; ")[0]
