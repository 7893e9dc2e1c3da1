"""A whole federation over real DICOM files, all stages, and nothing of a patient in what leaves."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from reference import files
from typer.testing import CliRunner

from client.command.app import app
from client.gate.ledger import Ledger
from client.site.folder import open_site
from server.demo.loopback import small_sites
from server.demo.play import DemoFolders, play_demo
from server.engines import local as local_engine
from server.report.results import Results
from server.run.folder import open_run

pytestmark = pytest.mark.federation

OVERRIDES = ["fusion=linear", "federation.rounds=2", "privacy.epsilon=2.5", "federation.poll_s=0.01"]


@dataclass(frozen=True)
class Played:
    folders: DemoFolders
    results: Results
    files: dict[str, str]
    wire: bytes
    logged: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The demo with fewer patients, every byte that passed between the parties kept."""
    folder = tmp_path_factory.mktemp("demo-of-SECRETPATH") / "demo"
    sites = tuple(
        replace(site, defects=replace(site.defects, missing_label=3, unknown_unit=2, under_age=1))
        for site in small_sites()
    )
    passed: list[bytes] = []
    records: list[str] = []
    from_wire = local_engine._from_wire

    def listen(wire: local_engine._Wire) -> object:
        passed.append(wire.records)
        passed.extend(array.data for record in wire.arrays.values() for array in record.values())
        return from_wire(wire)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    handler = Keep()
    logging.getLogger().addHandler(handler)

    connect = socket.socket.connect

    def no_network(own: socket.socket, address: object) -> None:
        if own.family != socket.AF_UNIX:  # between processes of this machine
            raise OSError("the demo must not need a network")
        connect(own, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_engine, "_from_wire", listen)
        patch.setattr(socket.socket, "connect", no_network)
        results, files = play_demo(folder, overrides=OVERRIDES, seed=11, sites=sites)
    logging.getLogger().removeHandler(handler)
    return Played(DemoFolders(folder), results, files, b"".join(passed), "\n".join(records))


def canaries(folders: DemoFolders) -> list[bytes]:
    """Names, numbers, birthdays, pseudonyms and paths that must never leave a hospital."""
    words: list[bytes] = [b"SECRETPATH"]
    for truth_file in (folders.folder / "archives").glob("*/truth.json"):
        for patient in json.loads(truth_file.read_text())["patients"]:
            family = patient["name"].split("^")[0]
            words += [patient["patient_id"].encode(), patient["name"].encode()]
            words += [family.encode()] if len(family) > 5 else []
            words += [patient["birth_day"].replace("-", "").encode(), patient["birth_day"].encode()]
    for site in folders.folder.glob("sites/*"):
        for members in (site / "ledger" / "members").iterdir():
            words += members.read_bytes().split()[:3]
    return words


def test_every_stage_gives_a_result_for_every_site(played: Played) -> None:
    found = {(row.kind, row.site) for row in played.results.validation if row.status == "measured"}
    training = {"aster", "birch", "cedar"}
    assert {site for kind, site in found if kind == "internal"} == training | {"pooled"}
    assert {site for kind, site in found if kind == "external"} == {"dune"}
    assert {site for kind, site in found if kind == "prospective"} == training | {"dune", "pooled"}
    assert [len(entry.took_part) for entry in played.results.rounds] == [3, 3]


def test_every_file_that_a_federation_leaves_is_one_of_the_reference(played: Played) -> None:
    folders = [(files.SITE, site) for site in played.folders.folder.glob("sites/*")]
    [run] = (played.folders.home / "runs").iterdir()
    folders += [(files.COORDINATOR, played.folders.home), (files.RELEASE, run / "release")]
    unknown, n_seen = [], 0
    for known, folder in folders:
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            is_others = known is files.COORDINATOR and (run / "release") in path.parents
            if path.is_file() and not is_others:
                n_seen += 1
                unknown += [name] if not any(file.is_of(name) for file in known) else []
    assert n_seen > 100
    assert unknown == []


def test_nothing_of_a_patient_is_in_any_byte_that_passed_between_parties(played: Played) -> None:
    words = canaries(played.folders)
    assert len(words) > 800
    assert len(played.wire) > 100_000
    found = {word for word in words if word in played.wire}
    assert found == set()


def test_nothing_of_a_patient_is_in_the_coordinators_folder_report_or_log(played: Played) -> None:
    words = canaries(played.folders)
    files = [path for path in played.folders.home.rglob("*") if path.is_file()]
    files += [Path(played.files["report.html"]), Path(played.files["report.json"])]
    assert len(files) > 30
    for path in files:
        data = path.read_bytes()
        assert not [word for word in words if word in data], path.name
    assert not [word for word in words if word.decode() in played.logged]


def test_the_canaries_are_really_in_the_films_and_tables(played: Played) -> None:
    words = canaries(played.folders)
    films = next((played.folders.folder / "archives" / "aster" / "films").glob("*.dcm")).read_bytes()
    assert [word for word in words if word in films]


def test_each_ledger_is_intact_and_its_epsilon_is_the_predicted_one(played: Played) -> None:
    plan = open_run(played.folders.home / "runs" / "demo").plan
    assert plan.predicted.training_epsilon is not None
    for entry in plan.sites("training"):
        site = open_site(played.folders.site(entry.site))
        ledger = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
        ledger.verify()
        charged = [row for row in ledger.show() if row.kind == "charge" and row.purpose == "train"]
        assert [row.round for row in charged] == [1, 2]
        members = [row.members_sha256 for row in charged]
        assert len(set(members)) == 1
        budget = ledger.budget_of_everybody(allowance=site.policy.allowance)
        assert budget.epsilon_spent == pytest.approx(
            max(plan.predicted.training_epsilon, plan.predicted.validation_epsilon or 0.0), abs=0.01
        )


def test_a_charge_is_in_the_ledger_before_its_update_is_in_the_outbox(played: Played) -> None:
    site = played.folders.site("aster")
    rows = [json.loads(line) for line in (site / "ledger" / "ledger.jsonl").read_text().splitlines()]
    kinds = [row.get("row", row).get("kind") for row in rows]
    assert kinds[0] == "opened"
    assert kinds.count("charge") == kinds.count("outcome") == 4  # two rounds, internal, prospective


def test_patients_seen_in_training_are_not_in_the_prospective_cohort(played: Played) -> None:
    for site in played.folders.folder.glob("sites/*"):
        cohorts = {path.name: path for path in (site / "cohorts").iterdir()}
        (later_name,) = [name for name in cohorts if "-after-" in name]
        seen, later = (
            {json.loads(line)["patient"] for line in exam_lines(cohorts[name] / "v1")}
            for name in ("hip_bmd", later_name)
        )
        assert later
        assert not seen & later


def exam_lines(cohort: Path) -> list[str]:
    for path in cohort.glob("*.jsonl"):
        lines = path.read_text().splitlines()
        if lines and "patient" in json.loads(lines[0]):
            return lines
    return []


def test_the_report_names_every_qualifier_beside_epsilon(played: Played) -> None:
    page = Path(played.files["report.html"]).read_text()
    for words in ("patient", "add/remove", "1e−5", "exact Gaussian", "not a medical device"):
        assert words.lower() in page.lower()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_defects_are_quarantined_and_the_rest_goes_on(played: Played) -> None:
    for name in ("aster", "birch", "cedar", "dune"):
        truth = json.loads((played.folders.source(name) / "truth.json").read_text())
        quarantined = list((played.folders.site(name) / "cohorts" / "hip_bmd").rglob("quarantine*"))
        text = "".join(path.read_text() for path in quarantined)
        assert truth["planted"]["unknown_unit"] == 2
        for code in ("unreadable-dicom", "burned-in-annotation", "unknown-unit", "missing-label"):
            assert f"intake.{code}" in text


def test_the_heat_map_is_a_picture_and_stays_at_the_site(played: Played) -> None:
    path = Path(played.files["heat map (stays at the site)"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.is_relative_to(played.folders.site("aster"))


def test_a_reading_at_the_command_line_leaves_its_heat_map_in_the_sites_folder(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site = played.folders.site("aster")
    film = min((played.folders.folder / "archives" / "one-new-patient" / "films").glob("*.dcm"))
    release = played.folders.home / "runs" / "demo" / "release"
    read = ["predict", str(release), str(film), "-v", "age=71", "-v", "sex=female"]
    done = CliRunner().invoke(app, [*read, "--folder", str(site), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert Path(told["heat_map"]).parent == site / "readings"
    assert Path(told["heat_map"]).read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == []


def test_an_audit_of_an_encoder_that_learns_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    from shared.errors import SettingsError

    asked = ["encoder=resnet_gn", "fusion=linear", "federation.rounds=1", "federation.local_steps=1"]
    with pytest.raises(SettingsError, match=r"needs encoder\.training frozen, not full"):
        play_demo(tmp_path / "demo", overrides=asked, seed=1, is_audited=True)
    assert not (tmp_path / "demo").exists()


def test_a_demo_does_not_empty_a_folder_it_did_not_write(tmp_path: Path) -> None:
    from shared.errors import RunError

    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not written by a demo"):
        play_demo(tmp_path, overrides=OVERRIDES, seed=1)
    assert (tmp_path / "thesis.txt").exists()
