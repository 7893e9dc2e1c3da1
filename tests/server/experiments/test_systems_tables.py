"""Tables say in short what is read first, and hold every figure where they are whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from practice_experiments import FEW, SEEDS, TWO, keep_invented

from server.experiments.looks_page import number
from server.experiments.outcome import outcome_of
from server.experiments.systems_tables import (
    contents,
    differences_table,
    short_table,
    whole_table,
)


def test_in_short_each_arm_has_one_line_and_hospitals_alone_are_their_mean(tmp_path: Path) -> None:
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06}, alone={"birch": 0.05})
    found = outcome_of(TWO, FEW, SEEDS, kept)
    lines = short_table(TWO, found)
    assert lines[2].startswith("| arm | federated |")
    assert lines[2].endswith("| alone, mean of hospitals |")
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| descent", "| ridge"]
    alone = [
        row.mean.value
        for row in found.rows
        if (row.arm, row.kind, row.place, row.figure) == ("ridge", "alone", "prospective", "R²")
        and row.mean
    ]
    assert len(alone) == 3
    assert lines[5].endswith(f"| {number(sum(alone) / 3)} |")


def test_the_whole_table_has_a_line_for_every_arm_training_and_figure(tmp_path: Path) -> None:
    found = outcome_of(TWO, FEW, SEEDS, keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06}))
    keys = {(row.arm, row.training, row.figure) for row in found.rows}
    assert len(whole_table(TWO, found)) == 2 + len(keys)
    assert len(differences_table(found.compared, with_kind=True)) == 2 + len(found.compared)


def test_the_page_begins_with_a_line_for_each_system_measured_or_not(tmp_path: Path) -> None:
    found = outcome_of(TWO, FEW, SEEDS, keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06}))
    waiting = replace(TWO, name="waiting")
    lines = contents([TWO, waiting], [found])
    assert lines[-2].startswith("| [two_heads](#two_heads) | descent | R² | 0.8")
    assert lines[-1] == "| [waiting](#waiting) | descent | R² | – | – | – |"
