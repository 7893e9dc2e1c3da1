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
    full_table,
    further_table,
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


def test_the_same_pairs_stand_by_the_other_figures_too(tmp_path: Path) -> None:
    found = outcome_of(TWO, FEW, SEEDS, keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06}))
    pairs = [each for each in found.compared if each.kind and each.figure == "R²"]
    lines = further_table(TWO, found, pairs)
    assert lines[1:4] == ["The same pairs by AUC (p):", "", "| first | second | AUC |"]
    [by_auc] = [
        each
        for each in found.compared
        if (each.kind, each.place, each.figure) == (pairs[0].kind, pairs[0].place, "AUC")
    ]
    assert by_auc.mean
    assert lines[5].startswith(f"| descent | ridge | {number(by_auc.mean.value)} (")
    assert len(lines) == 5 + len(pairs)
    assert further_table(replace(TWO, figures=("R²",)), found, pairs) == []


def test_an_ablation_in_full_is_told_by_every_figure_with_and_without_privacy(tmp_path: Path) -> None:
    whole = replace(
        TWO, ablations=(replace(TWO.ablations[0], is_in_full=True),), of_arms=("MAE", "AUC")
    )
    kept = keep_invented(tmp_path, {"descent": 0.05, "ridge": 0.06}, system=whole)
    found = outcome_of(whole, FEW, SEEDS, kept)
    lines = full_table(whole, found)
    assert "| trained | place | R² | AUC | MAE |" in lines
    assert [line.split(" | ")[:2] for line in lines[5:]] == [
        [f"| {kind}", place]
        for kind in ("federated", "federated, no privacy", "pooled, no privacy")
        for place in ("external", "prospective")
    ]
    assert all("–," not in line and line.count("(") == 3 for line in lines[5:])
    # other pairs, and a system that tells none in full, keep to the system's figures
    assert {each.figure for each in found.compared if not each.kind} == {"R²", "AUC"}
    assert full_table(TWO, found) == []
