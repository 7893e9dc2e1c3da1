"""A table of patients scored with a release: row by row what one exam is read as."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from table_site import TableSites

from client.reading.predict import predict
from client.reading.score_table import ScoredTable, score_table
from client.site.profile import SiteProfile
from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.contract.release import Release, ReleaseRecord
from shared.errors import IntakeError
from shared.model.build import build_model
from shared.model.weights import flatten_weights

TODAY = date(2026, 1, 5)
TYPED = {"age": "71", "sex": "f", "height": "160", "weight": "140", "bmi": "24", "smoking": "never"}
REST = {"alcohol": "3", "activity": "", "prior_fracture": "no"}


def release_of(plan: Plan, weights: np.ndarray) -> Release:
    record = ReleaseRecord.model_construct(plan_sha256=plan.sha256, decision=decision_of(plan.settings))
    return Release(record=record, plan=plan, weights=weights)


@pytest.fixture
def of_bmd(sites: TableSites) -> Release:
    settings = compose_settings(["encoder=none", "fusion=clinical_only"])
    planned = sites.plan.settings.model_copy(
        update={name: getattr(settings, name) for name in ("task", "cohort", "encoder", "fusion")}
    )
    weights = flatten_weights(build_model(planned, 1))
    draw = np.random.default_rng(0).normal(0, 0.2, weights.size).astype(np.float32)
    return release_of(sites.plan.model_copy(update={"settings": planned}), draw)


def write(path: Path, *changes: dict[str, str]) -> Path:
    rows = [
        {"nr": f"P{place}", "exam_date": "2024-05-06", **TYPED, **REST, **change}
        for place, change in enumerate(changes)
    ]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path


PROFILE = SiteProfile(columns={"patient_id": "nr"}, separator=";", units={"weight": "lb"})


def as_rows(table: ScoredTable) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_a_row_is_read_as_one_exam_is_in_the_sites_own_words_and_units(
    of_bmd: Release, tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.csv", {}, {"age": "85", "weight": "180"})
    table = score_table(of_bmd, path, PROFILE, today=TODAY)
    rows = as_rows(table)
    assert table.n_scored == 2
    for row, change in zip(rows, ({}, {"age": "85", "weight": "180"}), strict=True):
        values = {**TYPED, **REST, **change}
        values["weight"] = str(float(values["weight"]) * 0.45359237)
        one = predict(of_bmd, [], {name: text for name, text in values.items() if text})
        assert float(row["value [g/cm2]"]) == pytest.approx(one.value, abs=5e-5)
        assert float(row["T-score"]) == pytest.approx(one.t_score, abs=0.006)
        assert row["class"] == one.class_name
    assert [row["patient"] for row in rows] == ["P0", "P1"]
    assert rows[0]["value [g/cm2]"] != rows[1]["value [g/cm2]"]


def test_what_cannot_be_read_keeps_its_row_and_says_why(of_bmd: Release, tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.csv", {"age": ""}, {"bmi": "900"}, {"exam_date": "2030-01-01"}, {"sex": "?"}
    )
    table = score_table(of_bmd, path, PROFILE, today=TODAY)
    rows = as_rows(table)
    assert table.n_scored == 1
    assert [row["not read"] for row in rows] == [
        "intake.missing-required-field",
        "",
        "intake.future-date",
        "intake.missing-required-field",
    ]
    assert rows[1]["values not used"] == "bmi: intake.out-of-range"
    assert rows[1]["class"]
    assert rows[0]["class"] == rows[0]["value [g/cm2]"] == ""
    nobody = score_table(of_bmd, write(tmp_path / "none.csv", {"age": "x"}), PROFILE, today=TODAY)
    assert nobody.n_scored == 0


def test_classes_have_a_column_of_each_probability(sites: TableSites, tmp_path: Path) -> None:
    archive = sites.folder / "archives" / "hop" / "clinical.csv"
    table = score_table(release_of(sites.plan, sites.weights), archive, SiteProfile(), today=TODAY)
    chances = ("probability of benign", "probability of malignant")
    assert table.columns[3:7] == (*chances, "likeliest class", "class")
    for row in as_rows(table):
        both = float(row["probability of benign"]), float(row["probability of malignant"])
        assert sum(both) == pytest.approx(1, abs=2e-4)
        assert row["class"] == ("malignant" if both[1] >= 0.5 else "benign")
        assert row["likeliest class"] == ("malignant" if both[1] > both[0] else "benign")
    assert table.n_scored == len(table.rows) == 110


def test_the_file_is_for_this_hospital_and_replaces_none(of_bmd: Release, tmp_path: Path) -> None:
    table = score_table(of_bmd, write(tmp_path / "rows.csv", {}), PROFILE, today=TODAY)
    out = tmp_path / "scores.csv"
    table.write(out)
    assert out.stat().st_mode & 0o777 == 0o600
    with out.open(newline="") as stream:
        assert [tuple(row) for row in csv.reader(stream)] == [table.columns, *table.rows]
    with pytest.raises(IntakeError, match="is there already"):
        table.write(out)


def test_a_release_that_reads_films_scores_no_table(sites: TableSites, tmp_path: Path) -> None:
    settings = sites.plan.settings.model_copy(update={"encoder": compose_settings().encoder})
    plan = sites.plan.model_copy(update={"settings": settings})
    with pytest.raises(IntakeError) as caught:
        score_table(release_of(plan, sites.weights), tmp_path, PROFILE, today=TODAY)
    assert caught.value.code == "intake.reads-films"
