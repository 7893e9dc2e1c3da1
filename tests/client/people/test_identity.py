"""Re-identification: at the site, by a named person, noted before anything is shown."""

from __future__ import annotations

import json

import pytest
from table_site import TableSites
from typer.testing import CliRunner

from client.command.app import app
from client.people.identity import IDENTITY_LOG, find_patient, name_patient
from client.people.withdrawal import models_that_saw, withdraw
from shared.contract.protocol import Refusal
from shared.errors import IntakeError, PolicyError

BY = "Grace Hopper"
NUMBER = "P00003"


def noted(sites: TableSites) -> list[dict[str, str]]:
    path = sites.site().folder / IDENTITY_LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_number_and_pseudonym_lead_to_each_other(sites: TableSites) -> None:
    found = find_patient(sites.site(), f" {NUMBER} ", by=BY)
    assert found.cohorts == ("breast_cytology v1",)
    assert (found.n_exams, found.n_films, found.is_nobody) == (1, 0, False)
    named = name_patient(sites.site(), found.pseudonym.upper(), by=BY)
    assert named.identity is not None
    assert named.identity.patient_id == NUMBER
    assert NUMBER not in repr(named)


def test_each_question_is_noted_without_the_identity(sites: TableSites) -> None:
    found = find_patient(sites.site(), NUMBER, by=BY)
    name_patient(sites.site(), found.pseudonym, by=BY)
    lines = noted(sites)
    assert [line["question"] for line in lines] == ["find this", "who is this"]
    assert {line["by"] for line in lines} == {BY}
    assert {line["pseudonym"] for line in lines} == {found.pseudonym}
    assert NUMBER not in (sites.site().folder / IDENTITY_LOG).read_text()


@pytest.mark.parametrize("by", ["", "Grace"])
def test_nobody_learns_an_identity_without_a_name(sites: TableSites, by: str) -> None:
    pseudonym = find_patient(sites.site(), NUMBER, by=BY).pseudonym
    with pytest.raises(PolicyError):
        name_patient(sites.site(), pseudonym, by=by)
    with pytest.raises(PolicyError):
        find_patient(sites.site(), NUMBER, by=by)
    assert len(noted(sites)) == 1


def test_a_question_that_fails_is_noted_too(sites: TableSites) -> None:
    with pytest.raises(IntakeError, match="knows nobody"):
        name_patient(sites.site(), "0" * 32, by=BY)
    assert len(noted(sites)) == 1


@pytest.mark.parametrize("mistyped", [NUMBER, f" {NUMBER}", "0" * 31, "0" * 33, "g" * 32, ""])
def test_a_number_given_as_a_pseudonym_is_neither_noted_nor_repeated(
    sites: TableSites, mistyped: str
) -> None:
    with pytest.raises(IntakeError, match="32 hexadecimal digits") as caught:
        name_patient(sites.site(), mistyped, by=BY)
    assert caught.value.code == "intake.not-a-pseudonym"
    assert NUMBER not in str(caught.value)
    assert noted(sites) == []
    folder = str(sites.site().folder)
    shown = CliRunner().invoke(app, ["patient", NUMBER, "--by", BY, "--folder", folder])
    assert shown.exit_code == 1
    assert NUMBER not in shown.output
    assert noted(sites) == []


def test_a_number_that_nobody_here_has_is_nobodys(sites: TableSites) -> None:
    assert find_patient(sites.site(), "P99999", by=BY).is_nobody
    withdraw(sites.site(), "P99999", by=BY)
    assert not find_patient(sites.site(), "P99999", by=BY).is_nobody  # known as withdrawn
    staged = sites.site().pseudonyms.patient_key("", "P77777")
    (sites.site().staging / "hip_bmd" / staged).mkdir(parents=True)
    assert not find_patient(sites.site(), "P77777", by=BY).is_nobody


def test_a_note_that_cannot_be_written_shows_nothing(sites: TableSites) -> None:
    pseudonym = find_patient(sites.site(), NUMBER, by=BY).pseudonym
    path = sites.site().folder / IDENTITY_LOG
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        name_patient(sites.site(), pseudonym, by=BY)


def test_who_withdrew_is_known_as_withdrawn_with_the_models_and_no_number(sites: TableSites) -> None:
    member = sites.split("train").arrays.patients[0]
    identity = sites.site().linkage.identity_of(member)
    assert identity is not None
    sites.answer(sites.train_request())
    done = withdraw(sites.site(), identity.patient_id, by=BY)
    assert done.models == (f"cytology (plan {sites.plan_sha256[:12]}, 1 round)",)
    found = name_patient(sites.site(), member, by=BY)
    assert found.identity is None
    assert found.has_withdrawn
    assert found.cohorts == ("breast_cytology v1",)  # the older version, until it is purged
    assert models_that_saw(sites.site(), member) == done.models


def test_a_patient_who_was_only_measured_or_whose_round_failed_is_in_no_model(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    sites.answer(sites.measure_request())
    monkeypatch.setattr("shared.stages.gradient.train_update", fail)
    assert isinstance(sites.answer(sites.train_request()).message, Refusal)
    assert sites.charges() == 2
    measured = sites.split("internal").arrays.patients[0]
    trained = sites.split("train").arrays.patients[0]
    for patient in (measured, trained):
        assert models_that_saw(sites.site(), patient) == ()


def test_a_withdrawal_deletes_pages_that_show_the_person(sites: TableSites) -> None:
    pages = sites.site().folder / "pages"
    pages.mkdir()
    (pages / "breast_cytology-v1.html").write_text("films")
    withdraw(sites.site(), "P99999", by=BY)
    assert list(pages.iterdir())
    withdraw(sites.site(), NUMBER, by=BY)
    assert not list(pages.iterdir())


def test_the_command_asks_for_one_of_two_and_speaks_json(sites: TableSites) -> None:
    run, folder = CliRunner().invoke, ["--folder", str(sites.site().folder), "--by", BY]
    assert run(app, ["patient", *folder]).exit_code == 2
    assert run(app, ["patient", "0" * 32, "--find", NUMBER, *folder]).exit_code == 2
    asked = run(app, ["patient", "--find", "-", *folder, "--json"], input=f"{NUMBER}\n")
    found = json.loads(asked.stdout)
    assert found["patient number"] == NUMBER
    shown = run(app, ["patient", found["pseudonym"], *folder])
    assert NUMBER in shown.stdout
    assert "noted" in shown.stderr
