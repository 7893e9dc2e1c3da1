"""The intake's commands as a data manager meets them: at a site of its own, in any folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from practice_intake import rewrite
from practice_lock import LOCKED, lock_for
from table_site import TableSites
from typer.testing import CliRunner

from client.cohort.quarantine import CODES
from client.command.app import app
from client.intake.accrue import accept_lock as run_acceptance
from client.site.folder import create_site, declare_size, open_site
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects

PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")
Ask = Callable[..., Result]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Films and rows of a hospital of few patients."""
    write_hospital(tmp_path / "archive", replace(BIRCH, n_patients=6, defects=Defects()), seed=4)
    return tmp_path / "archive"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command of a new site, from a folder where nothing of OsteoFed lies."""
    create_site(tmp_path / "site", name="birch", declared_patients=8, profile=PROFILE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("OSTEOFED_SITE", str(tmp_path / "site"))
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


def damage(archive: Path, n_films: int) -> set[str]:
    """Overwrite some films; returns their names."""
    films = sorted((archive / "films").iterdir())[:n_films]
    for path in films:
        path.write_bytes(b"damaged")
    return {path.name for path in films}


def test_the_shipped_schema_is_found_from_any_folder_and_any_other_by_its_file(
    ask: Ask, archive: Path, tmp_path: Path
) -> None:
    done = ask("ingest", archive, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["cohort"], told["version"]) == ("hip_bmd", 1)
    assert told["changes"]["added"] == told["exams"]
    assert told["fetched_films_deleted"] is False
    shipped = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
    own = tmp_path / "own.yaml"
    own.write_text(shipped.read_text().replace("name: hip_bmd", "name: own_hip"))
    assert json.loads(ask("ingest", archive, "--schema", own, "--json").stdout)["cohort"] == "own_hip"
    refused = ask("ingest", archive, "--schema", "knee", "--json")
    assert refused.exit_code == 1
    told = json.loads(refused.stdout)
    assert told["error"] == "settings.no-schema"
    assert "hip_bmd" in told["fact"]


def test_a_cohort_beyond_the_places_of_the_declared_size_is_told_the_size_to_publish(
    ask: Ask, archive: Path, tmp_path: Path
) -> None:
    assert json.loads(ask("ingest", archive, "--json").stdout)["size_to_declare"] is None
    declare_size(tmp_path / "site", 1)  # smaller than any size of the list
    assert json.loads(ask("ingest", archive, "--json").stdout)["size_to_declare"] == 10
    assert "publish 10 by `osteofed-site declare" in " ".join(ask("ingest", archive).output.split())
    refused = ask("declare", "--declared-patients", "11")
    assert (refused.exit_code, "10 or 12" in refused.output) == (1, True)
    published = ask("declare", "--declared-patients", "10", "--json")
    assert json.loads(published.stdout)["declared patients"] == 10
    assert json.loads(ask("ingest", archive, "--json").stdout)["size_to_declare"] is None


def test_a_refused_first_intake_tells_its_quarantine_and_cohort_shows_it_afterwards(
    ask: Ask, archive: Path
) -> None:
    spoilt = damage(archive, 5)
    refused = ask("ingest", archive)
    assert refused.exit_code == 1
    assert "intake.too-much-lost" in refused.stderr
    assert "cohort hip_bmd --examples" in refused.stderr
    reason = CODES["intake.unreadable-dicom"]
    for words in ("intake.unreadable-dicom", "could not be read, 5", reason.remedy[:20]):
        assert words in refused.stdout, words

    again = ask("ingest", archive, "--json").stdout
    told = json.loads(again)
    assert told["error"] == "intake.too-much-lost"
    row = next(row for row in told["quarantined"] if row["code"] == "intake.unreadable-dicom")
    assert (row["kind"], row["n"], row["meaning"]) == ("film", 5, reason.meaning)
    assert row["remedy"] == reason.remedy

    shown = ask("cohort")
    assert shown.exit_code == 0, shown.output
    assert "refused intake: could not be read, 5" in shown.stdout
    assert re.search(r"the latest intake was refused at \d{4}-\d\d-\d\d \d\d:\d\d UTC", shown.stderr)
    texts = (refused.output, again, shown.output, ask("cohort", "--json").output)
    assert not any(name in text for name in spoilt for text in texts)  # it can name a patient
    assert "there is no page" in ask("cohort", "--page").stderr
    told = json.loads(ask("cohort", "--json").stdout)
    assert (told["version"], told["quarantined"]) == (None, [])
    assert row in told["refused_intake"]["quarantined"]
    told = json.loads(ask("cohort", "--json", "--examples").stdout)
    unread = told["refused_intake"]["quarantined"][0]
    assert len(unread["examples"]) == 3
    assert all(place.removeprefix("films/") in spoilt for place in unread["examples"])
    named = ask("cohort", "--examples").stdout
    assert sum(name in named for name in spoilt) == 3


def test_words_of_films_are_told_with_an_intake_its_refusal_and_its_cohort(
    ask: Ask, archive: Path
) -> None:
    for number, path in enumerate(sorted((archive / "films").iterdir())):
        rewrite(path, BodyPartExamined="HÜFTE", AnatomicRegionSequence=None)
        rewrite(path, ViewPosition="", ViewCodeSequence=None)
        rewrite(path, SeriesDescription=f"DOE^JANE {number}", ImageType=["DERIVED", "SECONDARY"])
    done = ask("ingest", archive)
    assert done.exit_code == 0, done.output
    n_films = len(list((archive / "films").iterdir()))
    for told in (done, ask("cohort")):
        text = " ".join(told.stdout.split())
        assert f"BodyPartExamined │ HÜFTE │ HIP │ {n_films} │ {n_films}" in text
        assert f"ViewPosition │ (empty) │ ? │ {n_films} │ {n_films}" in text
        assert f"SeriesDescription │ other descriptions │ ? │ {n_films}" in text
        assert "DOE^" not in told.output
    assert f"films, derived {n_films} of {n_films} show a view of the schema" in " ".join(
        done.stdout.split()
    )
    assert re.search(r"patients lost +0\n", done.stdout)
    listed = json.loads(ask("cohort", "--json").stdout)["film_words"]
    assert {word["text"]: word["terms"] for word in listed}["HÜFTE"] == ["HIP"]
    page = Path(json.loads(ask("cohort", "--page", "--json").stdout)["page, for this hospital only"])
    assert "<td>HÜFTE</td><td>HIP</td>" in page.read_text()
    assert "DOE^" not in page.read_text()

    for path in (archive / "films").iterdir():
        rewrite(path, BodyPartExamined="GELENK 4", StudyDescription=None)
    refused = ask("ingest", archive)
    assert refused.exit_code == 1
    assert "100.0% of patients are lost" in refused.stderr
    assert "could not be read" in refused.stdout
    for told in (refused, ask("cohort")):
        assert f"BodyPartExamined │ GELENK 4 │ ? │ {n_films} │ 0" in " ".join(told.stdout.split())


def test_a_value_that_cannot_be_used_is_told_with_its_field(ask: Ask, archive: Path) -> None:
    table = archive / "clinical.csv"
    header, first, *rows = table.read_text(encoding="utf-8-sig").splitlines()
    cells = first.split(";")
    cells[header.split(";").index("height")] = "999"
    table.write_text("\n".join([header, ";".join(cells), *rows]) + "\n")
    shown = ask("ingest", archive)
    assert shown.exit_code == 0, shown.output
    assert "of field" in shown.stdout
    assert "height (1)" in shown.stdout
    assert "height (1)" in ask("cohort").stdout
    told = json.loads(ask("ingest", archive, "--json").stdout)["quarantined"]
    [row] = [row for row in told if row["code"] == "intake.out-of-range"]
    assert (row["n"], row["fields"]) == (1, {"height": 1})


def test_a_cohort_without_any_intake_is_an_error(ask: Ask) -> None:
    told = ask("cohort", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["error"] == "intake.no-cohort"


def test_a_smaller_archive_needs_a_yes_and_what_changed_is_told(ask: Ask, archive: Path) -> None:
    assert ask("ingest", archive).exit_code == 0
    table = archive / "clinical.csv"
    header, *rows = table.read_text(encoding="utf-8-sig").splitlines()
    number = rows[0].split(";")[0]
    table.write_text("\n".join([header, *(row for row in rows if number not in row)]) + "\n")
    for path in (archive / "films").glob(f"{number}_*"):
        path.unlink()
    refused = ask("ingest", archive, "--json")
    assert refused.exit_code == 1
    told = json.loads(refused.stdout)
    assert told["error"] == "intake.would-shrink"
    n_gone = sum(number in row for row in rows)
    assert f"{n_gone} would be missing" in told["fact"]
    shown = ask("cohort", "--json")
    told = json.loads(shown.stdout)
    assert told["version"] == 1
    assert told["refused_intake"] is not None
    done = ask("ingest", archive, "--allow-fewer")
    assert done.exit_code == 0, done.output
    assert "exams, against v1" in done.stdout
    assert re.search(rf"missing +{n_gone}\n", done.stdout)
    assert json.loads(ask("cohort", "--json").stdout)["refused_intake"] is None


def test_a_damaged_file_of_the_refused_intake_is_an_error_with_a_remedy(
    ask: Ask, archive: Path, tmp_path: Path
) -> None:
    damage(archive, 5)
    ask("ingest", archive)
    (tmp_path / "site" / "cohorts" / "hip_bmd" / "refused-quarantine.jsonl").write_text('{"kind"')
    told = json.loads(ask("cohort", "--json").stdout)
    assert told["error"] == "intake.damaged-quarantine"
    assert "delete it" in told["hint"]


def test_both_commands_take_every_source(ask: Ask) -> None:
    options = [
        set(re.findall(r"--[a-z-]+", ask(name, "--help").output)) for name in ("ingest", "accrue")
    ]
    sources = {
        *("--films", "--table", "--sql", "--url-file", "--dicomweb", "--login-file", "--ca"),
        *("--dimse", "--called-aet", "--calling-aet", "--move", "--listen", "--modality"),
        *("--body-part", "--from", "--to", "--workers", "--allow-fewer"),
    }
    assert all(sources <= found for found in options)
    assert options[0] - options[1] == {"--schema"}


def test_films_after_a_lock_come_from_the_named_sources(sites: TableSites, tmp_path: Path) -> None:
    _, lock = lock_for(sites)
    table = tmp_path / "later.csv"
    source = next(sites.folder.rglob("clinical.csv")).read_text().splitlines()
    rows = [source[0], *(line.replace("2020-03-01", "2020-09-01") for line in source[1:11])]
    table.write_text("\n".join(rows).replace("P00", "Q00") + "\n")
    folder = ["--folder", str(sites.site().folder)]
    arguments = ["accrue", str(lock), "--table", str(table), *folder]
    early = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(early.stdout)["error"] == "plan.no-lock"
    named = ["accept-lock", str(lock), "--by", "Ada Lovelace", *folder, "--json"]
    unsure = CliRunner().invoke(app, named)
    assert json.loads(unsure.stdout)["error"] == "policy.not-confirmed"
    accepted = json.loads(CliRunner().invoke(app, [*named, "--yes"]).stdout)
    today = str(sites.site().clock().date())
    assert accepted["counts what is acquired after"] == today, "though it was locked years before"
    none = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(none.stdout)["error"] == "intake.empty-cohort"
    _, lock = lock_for(sites, code_sha256="5" * 64)  # another one, accepted on its day
    then = open_site(sites.site().folder, clock=lambda: LOCKED)
    run_acceptance(then, lock, by="Ada Lovelace")
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rows"] == {"read": 10, "used": 10}
    assert "-after-" in told["cohort"]
    both = CliRunner().invoke(app, [*arguments, "--sql", str(table), "--json"])
    assert json.loads(both.stdout)["error"] == "intake.several-sources"
    table.write_text("\n".join([*rows[:6]]).replace("P00", "Q00") + "\n")
    fewer = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(fewer.stdout)["error"] == "intake.would-shrink"
    assert CliRunner().invoke(app, [*arguments, "--allow-fewer"]).exit_code == 0
