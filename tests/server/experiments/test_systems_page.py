"""The page of the systems is made of its data, and says plainly where arms stand otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from practice_experiments import FEW, SEEDS, TWO, keep_invented

from server.experiments.deployed import read_deployed
from server.experiments.outcome import Outcome, outcome_of
from server.experiments.populations import EIGHT_TABLES
from server.experiments.readings import place_in_table
from server.experiments.system import System, leave_one_out
from server.experiments.systems import SYSTEMS
from server.experiments.systems_page import (
    PAGE,
    read_outcomes,
    systems_page,
    write_systems,
)
from server.experiments.systems_plot import plots_of
from server.simulation.looks import LOOKS
from shared.machine.files import PROJECT

EIGHT = replace(
    TWO, name="eight", population=EIGHT_TABLES, arms=TWO.arms[:1], ablations=(), design=leave_one_out
)


def outcome(folder: Path, *, system: System = TWO, **given: dict[str, float]) -> Outcome:
    errors = given.pop("errors", {"descent": 0.05, "ridge": 0.06})
    kept = keep_invented(folder, errors, system=system, **given)
    return outcome_of(system, FEW, SEEDS, kept)


def test_the_page_and_the_plots_in_the_documents_are_what_is_kept() -> None:
    kept = read_outcomes()
    texts = {PAGE: systems_page(SYSTEMS, kept, read_deployed()), **plots_of(SYSTEMS, kept)}
    for name, text in texts.items():
        assert (PROJECT / name).read_text() == text, f'{name}: run make experiments ARGS="--page"'
    drawn = {path.name for path in (PROJECT / "docs" / "pictures").glob("experiments-*.svg")}
    assert drawn == {Path(name).name for name in texts if name.endswith(".svg")}


def test_what_is_kept_is_of_the_systems_and_arms_of_today() -> None:
    by_name = {system.name: system for system in SYSTEMS}
    for each in read_outcomes():
        system = by_name[each.system]
        assert {row.arm for row in each.rows} <= {arm.name for arm in system.arms}
        named = {*system.figures, *system.of_arms, *LOOKS}
        assert {row.figure for row in each.rows if not place_in_table(row.figure)[0]} <= named
        assert system.figures[0] in {row.figure for row in each.rows}


@pytest.mark.parametrize("kept", read_outcomes(), ids=lambda kept: kept.system)
def test_a_difference_that_is_kept_is_that_of_the_two_figures(kept: Outcome) -> None:
    [first] = [system.arms[0].name for system in SYSTEMS if system.name == kept.system]
    figures = {
        (row.arm if kind else row.training, kind, row.place, row.figure): row.mean.by_seed
        for row in kept.rows
        for kind in ("", row.kind)
        if row.mean and (kind or row.arm == first)
    }
    n_compared = 0
    for each in kept.compared:
        pair = [(name, each.kind, each.place, each.figure) for name in (each.first, each.second)]
        if each.mean and all(key in figures for key in pair):
            ours, others = (np.array(figures[key]) for key in pair)
            assert each.mean.by_seed == pytest.approx(ours - others, abs=1e-9), pair
            n_compared += 1
    assert n_compared or not kept.compared


def test_what_is_declared_and_not_kept_is_said(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    assert "Declared, not measured yet" not in systems_page([TWO], [found])
    wider = replace(TWO, figures=(*TWO.figures, "κ"), arms=(*TWO.arms, replace(TWO.arms[0], name="x")))
    assert "Declared, not measured yet: x, κ." in systems_page([wider], [found])


def test_every_figure_of_an_arm_stands_in_its_row(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    page = systems_page([TWO], [found])
    [row] = [
        row
        for row in found.rows
        if (row.arm, row.training, row.place, row.figure) == ("ridge", "federated", "external", "R²")
    ]
    cell = f"{row.mean.value:.3f} ({row.mean.low:.3f} to {row.mean.high:.3f})"
    [line] = [line for line in page.splitlines() if line.startswith("| ridge | federated | R² |")]
    assert line.split(" | ")[4] == cell
    assert "Stand-ins: invented people." in page
    assert "internal 240, external 240, prospective 240" in page


def test_arms_stand_beside_each_other_by_the_figures_that_their_system_names(tmp_path: Path) -> None:
    system = replace(TWO, of_arms=("AUC", "MAE"))
    found = outcome(tmp_path, system=system)
    page = systems_page([system], [found])
    assert "| arm | AUC | MAE |" in page
    [row] = [
        row
        for row in found.rows
        if (row.arm, row.training, row.place, row.figure)
        == ("ridge", "federated", "prospective", "MAE")
    ]
    lines = page.splitlines()
    beside = lines[lines.index("| arm | AUC | MAE |") :]
    line = next(line for line in beside if line.startswith("| ridge | "))
    assert f"{row.mean.value:.3f} (" in line.split(" | ")[-1]
    assert "| ridge | federated | MAE |" not in page, "the other table has its own figures"
    assert "| arm | AUC | MAE |" not in systems_page([TWO], [outcome(tmp_path / "other")])


def test_a_system_that_was_not_measured_says_so(tmp_path: Path) -> None:
    assert "## two_heads" in systems_page([TWO], [])
    assert "Declared, not measured yet." in systems_page([TWO], [])
    assert "Declared, not measured yet." not in systems_page([TWO], [outcome(tmp_path)])


def test_a_hospital_that_was_left_out_gains_equals_or_reads_better_alone(tmp_path: Path) -> None:
    found = outcome(tmp_path, system=EIGHT, alone={"maple": 0.1, "rowan": -0.03})
    page = systems_page([EIGHT], [found])
    assert "than the hospital's own model by R²: maple" in page
    assert "is not told from the federation** by R²: alder, hazel, juniper, larch, spruce" in page
    assert "than the federation of the others** by R²: rowan" in page
    header = "| R² on later patients of | alone, no privacy | pooled, no privacy | federated |"
    assert header in page
    assert page.count("| **mean of hospitals** |") == 4, "values and differences of each figure"
    assert "is not told to gain or lose by R²: alder, hazel," in page


def test_a_new_outcome_takes_the_place_of_the_older_one_of_its_system(tmp_path: Path) -> None:
    first, second = outcome(tmp_path / "a"), outcome(tmp_path / "b", system=EIGHT)
    write_systems([TWO, EIGHT], [second], root=tmp_path)
    write_systems([TWO, EIGHT], [first], root=tmp_path)
    assert read_outcomes(tmp_path) == (first, second)
    newer = first.model_copy(update={"date": "2027-01-01"})
    written = write_systems([TWO, EIGHT], [newer], root=tmp_path)
    assert read_outcomes(tmp_path) == (newer, second)
    assert all(path.exists() for path in written)
    assert "2027-01-01" in (tmp_path / PAGE).read_text()


def test_before_the_first_run_nothing_is_kept(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path) == ()


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_system_stands_on_the_page_with_what_is_otherwise_than_in_its_paper(
    system: System,
) -> None:
    page = (PROJECT / PAGE).read_text()
    # a clean twin stands in the section of the one whose films leak
    is_twin = system.name in {other.clean for other in SYSTEMS}
    assert (f"## {system.name}\n" in page) is not is_twin
    assert all(each in page for each in system.stand_ins)
