"""A measured page is what its writer makes of its figures, and the figures are of what is shipped."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bug_table import CLAIM
from bug_table import page as bugs_page
from chaos_page import page as faults_page
from chaos_rows import ROWS
from planted import BUGS

from server.experiments import robustness
from server.experiments.robustness_lines import list_cases, read_lines
from server.experiments.robustness_page import robustness_page
from shared.exam.pixels import PREPROCESSING_VERSION

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def figures_of(name: str) -> dict[str, Any]:
    """The data of a page."""
    found: dict[str, Any] = json.loads((DOCS / "data" / f"{name}.json").read_text())
    return found


def bench(name: str) -> ModuleType:
    """A measuring program, which lies on no path of the tests."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_of_planted_bugs_is_its_figures_and_has_every_bug_that_is_planted() -> None:
    measured = figures_of("planted-bugs")
    assert (DOCS / "planted-bugs.md").read_text() == bugs_page(measured), "run make planted-bugs"
    assert {name: measured[name] for name in CLAIM} == CLAIM
    assert [row["bug"] for row in measured["rows"]] == ["none: a correct run", *BUGS]


def test_the_page_of_films_is_its_figures_and_they_are_of_this_preparation() -> None:
    measured = figures_of("films")
    assert (DOCS / "films.md").read_text() == bench("film_perturbations").page(measured), (
        "run make films"
    )
    assert measured["preprocessing"] == PREPROCESSING_VERSION


def test_the_figures_of_leukaemia_by_district_are_those_measured() -> None:
    page = (DOCS / "how-to" / "own-disease.md").read_text()
    assert page == bench("leukaemia").quoted(page, figures_of("leukaemia")), "run make leukaemia"


def test_the_seconds_of_ones_own_tables_are_those_measured() -> None:
    page = (DOCS / "how-to" / "own-disease.md").read_text()
    assert page == bench("own_tables").quoted(page, figures_of("own-tables")), "run make own-tables"


def test_the_page_of_devices_is_its_figures_and_the_sums_there_were_the_same() -> None:
    lines = [json.loads(line) for line in (DOCS / "data" / "devices.jsonl").read_text().splitlines()]
    assert (DOCS / "devices.md").read_text() == bench("device").page(lines), (
        "run tests/bench/device.py --page docs/data/devices.jsonl"
    )
    steps = [line for line in lines if "step" in line]
    assert steps
    assert all(line["same_twice"] and line["same_reversed"] for line in steps)


def test_the_page_of_one_patient_is_its_figures_and_these_are_within_the_limits() -> None:
    measured, written = figures_of("one-patient"), bench("one_patient")
    assert (DOCS / "one-patient.md").read_text() == written.page(measured), "run make measure-patient"
    assert written.exceeded(measured) == []
    assert (measured["rows_of_one"], measured["patients"]) == (written.ROWS, written.PATIENTS)


def test_the_page_of_kills_is_its_figures_and_every_charge_paid_for_one_release() -> None:
    measured, written = figures_of("one-release"), bench("release_kills")
    assert (DOCS / "one-release.md").read_text() == written.page(measured), "run make one-release"
    assert written.wrong(measured) == []
    assert measured["steps"] == list(written.STEPS)


def test_the_page_of_endurance_is_its_figures_and_nothing_was_lost_or_grew() -> None:
    measured, written = figures_of("endurance"), bench("endurance")
    assert (DOCS / "endurance.md").read_text() == written.page(measured), "run make soak"
    assert set(measured) <= set(written.PARTS)
    assert written.broken(measured) == []


def test_what_a_part_of_endurance_has_lost_is_named() -> None:
    written = bench("endurance")
    marks = {"50": 100.0, "150": 101.0}
    well = {"rounds": 200, "charges": [200, 200], "missed": 0, "memory_mib": marks}
    well |= {"early_s": 1.0, "late_s": 1.1}
    assert written.broken({"soak": well}) == []
    for changes, word in (
        ({"rounds": 199}, "199 of 200 rounds"),
        ({"charges": [199, 200]}, "charges of"),
        ({"missed": 1}, "1 events of sites"),
        ({"memory_mib": {"50": 100.0, "150": 103.0}}, "memory grows by 3.0%"),
        ({"late_s": 1.3}, "late rounds take +30%"),
    ):
        [found] = written.broken({"soak": well | changes})
        assert word in found
    many = {"rounds": 5, "charges": [5, 5], "missed": 0}
    engines = {"local": many | {"weights": [0.0, 1.0]}, "ray": many | {"weights": [0.0, 1.1]}}
    [found] = written.broken(engines)
    assert "Ray's weights differ by 1.0e-01" in found


def test_the_page_of_bad_hospitals_is_its_lines_and_they_are_of_every_case() -> None:
    lines = read_lines(ROOT / robustness.KEPT)
    assert [line.case for line in lines] == list(list_cases())
    page = robustness_page(lines, n_fresh=robustness.N_FRESH)
    assert (ROOT / robustness.PAGE).read_text() == page, "run make robustness"


def test_the_page_of_faults_is_its_figures_and_they_are_of_rows_that_there_are() -> None:
    seen = json.loads((DOCS / "data" / "chaos.json").read_text())
    assert (DOCS / "chaos.md").read_text() == faults_page(seen), "run make chaos"
    names = [each["row"] for each in seen]
    assert names == [row.name for row in ROWS if row.name in names]
