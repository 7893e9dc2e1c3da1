"""Sections of readings hold what was measured, in one line each, and are not there without it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from practice_experiments import TWO, looked_outcome

from server.experiments import readings_page
from server.experiments.readings import (
    APART,
    CALIBRATION,
    COLUMNS,
    DRAWS,
    FORETOLD,
    IMPORTANCE,
    KEPT,
    KINDS,
    MAPS,
    OBSERVED,
    figure_name,
)
from server.experiments.readings_page import readings_section
from server.experiments.system import Reading, System
from server.simulation.film_maps import CAM_STABILITY, LIME_FIT

FEDERATED, OPEN = "federated", "federated, no privacy"
Key = tuple[str, str, str, str]


def asked(kind: str) -> System:
    return replace(TWO, readings=(Reading(kind=kind),))


def section(kind: str, values: dict[Key, float]) -> list[str]:
    """Of values by arm, training, row and column, each ± .04."""
    named = {
        (arm, training, "prospective", figure_name(kind, row, column)): value
        for (arm, training, row, column), value in values.items()
    }
    return readings_section(asked(kind), looked_outcome("two_heads", named))


def test_every_reading_has_a_section() -> None:
    assert tuple(readings_page._SECTIONS) == KINDS


def test_a_system_without_measured_readings_has_no_section() -> None:
    for kind in KINDS:
        assert section(kind, {}) == []
    seen = looked_outcome("two_heads", {("descent", FEDERATED, "prospective", "AUC"): 0.8})
    assert readings_section(TWO, seen) == []


def test_risks_that_are_told_from_what_came_are_counted_to_either_side() -> None:
    columns = zip((OBSERVED, FORETOLD, APART), (0.2, 0.1, 0.1), strict=True)
    values = {("descent", FEDERATED, "fall by 1 years", name): value for name, value in columns}
    values |= {("descent", OPEN, "fall by 1 years", APART): -0.3}
    values |= {("descent", OPEN, "death by 1 years", APART): 0.03}
    lines = section(CALIBRATION, values)
    assert (
        "| descent | fall by 1 years | 0.200 (0.160 to 0.240) | 0.100 (0.060 to 0.140) "
        "| 0.100 (0.060 to 0.140) |" in lines
    )
    [said] = [line for line in lines if line.startswith("Of ")]
    assert said.startswith("Of 3 shares, 1 came more often than foretold and 1 less often")
    folded = lines.index("<details><summary>The same without privacy</summary>")
    assert any(f"| descent | {OPEN} | death by 1 years |" in line for line in lines[folded:])
    assert not any(OPEN in line for line in lines[:folded])


def test_fields_stand_in_lines_and_arms_in_columns() -> None:
    rises = {"age": 0.1, "height": 0.01}
    values = {
        (arm, kind, field, "rise"): rise
        for arm, kind in product(("descent", "ridge"), (FEDERATED, OPEN))
        for field, rise in rises.items()
        if (arm, field) != ("ridge", "height")
    }
    lines = section(IMPORTANCE, values)
    head = f"| field | descent, {FEDERATED} | ridge, {FEDERATED} | descent, {OPEN} | ridge, {OPEN} |"
    assert head in lines
    [height] = [line for line in lines if line.startswith("| height |")]
    assert [part == " – " for part in height.split("|")[2:6]] == [False, True, False, True]
    assert lines[-1] == f"descent, {FEDERATED}: told above 0 of age."


def test_columns_are_shares_over_hospitals_the_most_often_kept_first() -> None:
    values = {
        ("descent", training, column, KEPT): float(is_kept)
        for column, kept in {"a": (0, 1, 0, 0), "b": (1, 1, 1, 0), "c": (0, 0, 0, 1)}.items()
        for training, is_kept in zip(
            (FEDERATED, OPEN, "alone: birch", "alone: cedar"), kept, strict=True
        )
    }
    values |= {("descent", FEDERATED, "c", DRAWS): 0.3, ("descent", FEDERATED, "a", DRAWS): 0.1}
    values |= {("descent", "alone: cedar", "a", DRAWS): 0.9}
    lines = section(COLUMNS, values)
    table = [line for line in lines if line.startswith("| ")][1:]
    assert table == [
        "| b | 100% | 100% | 50% | – |",
        "| c | 0% | 0% | 50% | 30% |",
        "| a | 0% | 100% | 0% | 10% |",
    ]
    assert lines[1].startswith("Columns kept by descent: of 3 that are chosen from, ")
    assert "keeps 1 in every population and 2 in none" in lines[1]


def test_maps_that_there_are_not_leave_a_dash() -> None:
    lines = section(
        MAPS,
        {
            ("descent", FEDERATED, "maps", LIME_FIT): 0.5,
            ("descent", FEDERATED, "maps", CAM_STABILITY): 0.9,
            ("ridge", FEDERATED, "maps", LIME_FIT): 0.7,
        },
    )
    assert lines[-2].startswith("| descent | federated | 0.500 (")
    assert lines[-1] == "| ridge | federated | 0.700 (0.660 to 0.740) | – |"


def test_maps_at_several_hospitals_are_one_mean() -> None:
    values = {
        ("descent", f"{FEDERATED}: {site}", "maps", LIME_FIT): value
        for site, value in {"birch": 0.4, "cedar": 0.6}.items()
    }
    assert section(MAPS, values)[-1].startswith("| descent | federated | 0.500 (")


def test_public_clusters_are_told_of_the_arm_whose_columns_are_asked() -> None:
    from server.experiments.systems import SYSTEMS

    [cssc] = [system for system in SYSTEMS if system.name == "cssc"]
    lines = readings_section(cssc, looked_outcome("cssc", {}))
    assert lines[1].startswith("<details><summary>The 18 clusters of public films")
    assert "| standin_vgg[1] 0.94 | standin_inception[1] 0.87, standin_resnet[1] 0.77 |" in lines
