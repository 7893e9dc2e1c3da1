"""A time to event, whole: tables, YAML, rounds, gates, report, and the reading of one patient."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from practice_follow_up import FOLLOWED, follow, write_cohort, write_table

from client.reading.predict import predict
from client.reading.score_table import score_table
from client.site.profile import SiteProfile
from server.federation.folder import Home
from server.simulation.simulate import Simulation, simulate
from shared.contract.release import read_release

pytestmark = pytest.mark.federation

SIZES = {"ash": 260, "elm": 320, "oak": 220, "hop": 500}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("followed")


@pytest.fixture(scope="module")
def played(folder: Path) -> Simulation:
    """Without noise in training, noised tables in validation, which the description is beside."""
    tables = {
        name: write_table(folder / f"{name}.csv", follow(size, seed=place))
        for place, (name, size) in enumerate(SIZES.items())
    }
    return simulate(
        {name: path for name, path in tables.items() if name != "hop"},
        external={"hop": tables["hop"]},
        cohort=write_cohort(folder / "followed.yaml"),
        settings=[
            *("privacy=off", "learner=proportional_hazards", "learner.sums=40"),
            *("learner.clip_norm=10", "federation.poll_s=0.01", "validation.description_epsilon=8"),
        ],
        folder=folder / "run",
    )


def test_without_noise_the_federation_is_the_model_of_all_patients_in_one_place(
    played: Simulation,
) -> None:
    value = {(row.place, row.arm): row.value for row in played.comparison.first.figures}
    for place in ("internal", "hop"):
        assert value[place, "federated"] == pytest.approx(value[place, "pooled"], abs=1e-9)
        assert value[place, "federated"] > 0.65
        assert value[place, "untrained"] == 0.5
    assert {row.figure for row in played.comparison.first.figures} == {"C-index"}


def test_noised_figures_of_the_gates_hold_what_the_exact_comparison_says(played: Simulation) -> None:
    exact = {row.place: row.value for row in played.comparison.first.figures if row.arm == "federated"}
    rows = {(row.stage, row.site): row.figures for row in played.results.further}
    found = rows["survival_external", "hop"]
    # bins pull towards one half by two hundredths at most (tests of the measure)
    assert found["C-index"].low - 0.02 <= exact["hop"] <= found["C-index"].high + 0.02
    assert found["observed − expected risk"].low <= 0.1
    assert found["observed − expected risk"].high >= -0.1
    assert not played.results.validation, "no table takes every label as known"


def test_the_report_says_what_the_figures_are_and_how_each_follow_up_ended(
    played: Simulation, folder: Path
) -> None:
    page = (folder / "run" / "report.html").read_text()
    for words in ("the event is fracture within 5 years", "External C-index", "observed − expected"):
        assert words in page
    assert "AUC" not in page
    described = next(row for row in played.results.description if row.site == "pooled")
    ends = next(each for each in described.description.categories if each.name == "years")
    assert tuple(ends.shares) == FOLLOWED.classes
    assert "C-index of every arm" in (folder / "run" / "comparison.html").read_text()


def test_one_patient_is_read_as_a_risk_that_rises_year_by_year(
    played: Simulation, folder: Path
) -> None:
    home = Home(folder / "run" / "coordinator")
    [run] = (folder / "run" / "coordinator" / "runs").iterdir()
    release = read_release(run / "release", coordinator_key=home.key().public_hex)
    ill = predict(release, [], {"first": "2", "second": "-1", "third": "0"})
    well = predict(release, [], {"first": "-2", "second": "1", "third": "0"})
    risks = list(ill.risks.values())
    assert list(ill.risks) == [f"by {year} years" for year in (1, 2, 3, 4, 5)]
    assert risks == sorted(risks)
    assert risks[-1] == pytest.approx(ill.value)
    assert ill.value > 0.4 > 0.1 > well.value
    assert (ill.class_name, well.class_name) == ("fracture", "no fracture")
    assert "risk by 5 years" in ill.facts()
    table = folder / "new.csv"
    table.write_text("patient_id,first,second,third\nA,2,-1,0\nB,-2,1,0\n")
    rows = score_table(release, table, SiteProfile(), today=date(2026, 1, 5))
    cells = dict(zip(rows.columns, rows.rows[0], strict=True))
    assert float(cells["risk by 5 years"]) == pytest.approx(ill.value, abs=1e-4)
    assert cells["class"] == "fracture"
