"""Who withdraws is out of everything a later run could use, does not come back, and stays charged."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import Result
from practice_intake import ingest_with
from practice_lock import LOCKED, lock_for
from table_federation import write_table
from table_site import TableSites
from typer.testing import CliRunner

import client.people.withdrawal
from client.cohort.folder import Cohort
from client.cohort.token_cache import _write_block
from client.cohort.versions import PURGED_FILE, current_cohort, ever_in_cohort
from client.command.app import app
from client.intake.accrue import accept_lock, accrue
from client.intake.found_words import WORDS_FILE
from client.intake.ingest import IntakeReport
from client.intake.journal import JOURNAL_FOLDER
from client.people.withdrawal import withdraw
from client.site.folder import Site, create_site, open_site
from client.site.linkage import Identity, Linkage, PatientKey, Pseudonyms
from client.site.profile import SiteProfile
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import BIRCH, Defects
from shared.errors import IntakeError, PolicyError
from shared.exam.schema import CohortSchema
from shared.signing.canonical import canonical_json
from shared.signing.keys import seal, unseal

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")
BY = "Grace Hopper"
NOW = datetime(2024, 6, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Ward:
    """A site with a cohort of films, one of its patients, and one whose only film is a lateral one."""

    site: Site
    source: Path
    schema: CohortSchema
    patient_id: str
    lateral_id: str

    @property
    def patient(self) -> PatientKey:
        return self.site.pseudonyms.patient_key("", self.patient_id)

    def ingest(self, name: str | None = None, **changes: object) -> IntakeReport:
        site = open_site(self.site.folder)
        arguments = {
            "store": site.cohorts,
            "schema": self.schema,
            "profile": site.settings.profile,
            "pseudonyms": site.pseudonyms,
            "linkage": site.linkage,
            "clock": lambda: NOW,
            "name": name,
        }
        return ingest_with(self.source, **(arguments | changes))

    def withdraw(self, **changes: object) -> client.people.withdrawal.Withdrawal:
        return withdraw(open_site(self.site.folder), self.patient_id, **({"by": BY} | changes))

    def cohort(self, name: str = "hip_bmd") -> Cohort:
        return current_cohort(self.site, name)

    def linkage_text(self) -> str:
        """What the sealed file holds, for whoever has the key."""
        sealed = (self.site.folder / "linkage" / "linkage.bin").read_bytes()
        return unseal(self.site.pseudonyms.subkey("linkage"), sealed, purpose="linkage").decode()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    folder = tmp_path_factory.mktemp("ward")
    hospital = replace(BIRCH, n_patients=8, defects=Defects(wrong_view=1))
    truth = write_hospital(folder / "archive", hospital, seed=5)
    create_site(folder / "site", name="birch", declared_patients=8, profile=PROFILE)
    schema = CohortSchema.model_validate(yaml.safe_load(HIP.read_text()))
    sound = next(person.patient_id for person in truth.patients if not person.defect)
    [lateral] = [person.patient_id for person in truth.patients if person.defect]
    ward = Ward(open_site(folder / "site"), folder / "archive", schema, sound, lateral)
    ward.ingest()
    return ward


@pytest.fixture
def ward(frozen: Ward, tmp_path: Path) -> Ward:
    shutil.copytree(frozen.site.folder, tmp_path / "site")
    return replace(frozen, site=open_site(tmp_path / "site"))


def films_by_key(cohort: Cohort) -> dict[str, bytes]:
    return {
        film.film: cohort.images[film.image].tobytes() for exam in cohort.exams for film in exam.films
    }


def test_the_next_version_holds_everybody_else_unchanged(ward: Ward) -> None:
    before = ward.cohort()
    gone = before.exams_of(ward.patient)
    assert gone
    done = ward.withdraw()
    after = ward.cohort()
    assert (done.n_exams, done.n_films) == (len(gone), sum(len(exam.films) for exam in gone))
    assert (after.version, done.written, done.kept) == (2, ("hip_bmd v2",), ("hip_bmd v1",))
    assert set(after.patients()) == set(before.patients()) - {ward.patient}
    lost = {film.film for exam in gone for film in exam.films}
    expected = {key: image for key, image in films_by_key(before).items() if key not in lost}
    assert films_by_key(after) == expected
    kept = [exam for exam in before.exams if exam.patient != ward.patient]
    for old, new in zip(kept, after.exams, strict=True):
        assert replace(new, films=old.films) == old
    assert (after.quarantined, after.previous) == (before.quarantined, before.fingerprint)
    assert Cohort.open(before.folder).fingerprint == before.fingerprint


def test_who_withdrew_is_nobody_in_the_linkage_and_films_sent_again_stay_out(ward: Ward) -> None:
    n_films = sum(len(exam.films) for exam in ward.cohort().exams_of(ward.patient))
    lost_before = ward.ingest().losses.by_code
    assert ward.site.linkage.identity_of(ward.patient) == Identity("", ward.patient_id)
    ward.withdraw()
    assert open_site(ward.site.folder).linkage.identity_of(ward.patient) is None
    assert not list(ward.site.folder.rglob(WORDS_FILE))
    for report in (ward.ingest(), ward.ingest("again"), ward.ingest()):
        assert ward.patient not in report.cohort.patients()
        found = Counter({(count.kind, count.code): count.n for count in report.counts})
        assert found["film", "intake.withdrawn"] >= n_films
        assert found["row", "intake.withdrawn"] >= 1
        assert report.losses.by_code == lost_before  # it is no loss
        entries = [entry for entry in report.cohort.quarantined if entry.code == "intake.withdrawn"]
        linkage = open_site(ward.site.folder).linkage
        assert [linkage.place_of(entry.item) for entry in entries] == [None] * len(entries)
    assert ward.patient_id not in ward.linkage_text()
    assert ward.patient not in ward.linkage_text()  # a tombstone is another name


def test_every_cohort_of_the_site_is_written_without_the_person(ward: Ward) -> None:
    ward.ingest("second")
    done = ward.withdraw()
    assert done.written == ("hip_bmd v2", "second v2")
    assert ward.patient not in ward.cohort().patients() + ward.cohort("second").patients()


def test_tokens_of_every_version_that_held_the_person_are_deleted(ward: Ward) -> None:
    cache = ward.site.folder / "cache" / "tokens"
    held, other = cache / f"{ward.cohort().fingerprint[:32]}-abc-2.npy", cache / "0123-abc-2.npy"
    for path in (held, other):
        _write_block(path, np.zeros((1, 4, 3), dtype=np.float32))
    ward.withdraw()
    assert (held.exists(), other.exists()) == (False, True)


def test_films_fetched_from_an_archive_are_deleted_of_this_person_only(ward: Ward) -> None:
    site = open_site(ward.site.folder)
    issuer = site.linkage.issuer_for(site.settings.profile.issuer)
    own = site.pseudonyms.patient_key(issuer, ward.patient_id)
    other = site.pseudonyms.patient_key(issuer, "somebody else")
    for patient in (own, other):
        film = site.staging / "hip_bmd" / patient / "film.dcm"
        film.parent.mkdir(parents=True)
        film.write_bytes(b"film")
    ward.withdraw()
    assert [path.name for path in (site.staging / "hip_bmd").iterdir()] == [other]


def test_purging_leaves_of_older_versions_their_heads_and_who_else_was_in_them(ward: Ward) -> None:
    before = ward.cohort()
    secrets = [image for key, image in films_by_key(before).items()
               if key in {f.film for e in before.exams_of(ward.patient) for f in e.films}]  # fmt: skip
    rows = [exam.exam for exam in before.exams_of(ward.patient)]
    head = (before.folder / "cohort.json").read_bytes()
    ward.ingest("second")
    done = ward.withdraw(purge=True)
    assert (done.kept, done.purged) == ((), ("hip_bmd v1", "second v1"))
    assert sorted(path.name for path in before.folder.iterdir()) == ["cohort.json", PURGED_FILE]
    assert (before.folder / "cohort.json").read_bytes() == head
    stored = b"".join(path.read_bytes() for path in ward.site.cohorts.rglob("*") if path.is_file())
    assert not [secret for secret in secrets if secret in stored]
    assert not [row for row in rows if row.encode() in stored]
    assert ever_in_cohort(ward.site, "hip_bmd") == set(before.patients()) - {ward.patient}
    assert ward.ingest().cohort.version == 3


def test_a_purge_leaves_the_pseudonym_in_no_head_and_in_no_note_of_an_earlier_purge(ward: Ward) -> None:
    people = ward.cohort().patients()
    others = [key for key in people if key != ward.patient][:2]
    numbers = [
        identity.patient_id for key in others if (identity := ward.site.linkage.identity_of(key))
    ]
    assert withdraw(ward.site, numbers[0], by=BY, purge=True).purged == ("hip_bmd v1",)
    withdraw(
        open_site(ward.site.folder), numbers[1], by=BY
    )  # v2 is kept, and its head names v1's people
    v1, v2, v3 = (ward.site.cohorts / "hip_bmd" / f"v{number}" for number in (1, 2, 3))
    assert ward.patient in json.loads((v1 / PURGED_FILE).read_bytes())["patients"]
    fingerprints = [json.loads((v / "cohort.json").read_bytes())["fingerprint"] for v in (v2, v3)]
    assert ward.patient in json.loads((v3 / "cohort.json").read_bytes())["shared_patients"]
    assert ward.withdraw(purge=True).purged == ("hip_bmd v2", "hip_bmd v3")
    stored = b"".join(path.read_bytes() for path in ward.site.cohorts.rglob("*") if path.is_file())
    assert ward.patient.encode() not in stored
    heads = [json.loads((v / "cohort.json").read_bytes()) for v in (v2, v3)]
    assert [head["fingerprint"] for head in heads] == fingerprints
    assert ever_in_cohort(ward.site, "hip_bmd") == set(people) - {*others, ward.patient}


def test_what_an_intake_that_was_cut_off_has_left_is_deleted_and_it_starts_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            "client.cohort.folder._publish", die
        )  # all films are read, nothing has its name
        with pytest.raises(KeyboardInterrupt):
            ward.ingest("second")
    left = sorted(path.name for path in (ward.site.cohorts / "second").iterdir())
    assert left == [JOURNAL_FOLDER, ".v1.part"]
    assert (
        ward.patient.encode()
        in (ward.site.cohorts / "second" / ".v1.part" / "exams.jsonl").read_bytes()
    )
    ward.withdraw()
    assert list((ward.site.cohorts / "second").iterdir()) == []
    again = ward.ingest("second").cohort
    assert again.version == 1
    assert set(again.patients()) == set(ward.cohort().patients())


def test_doing_it_again_is_harmless_and_can_purge_later(ward: Ward) -> None:
    ward.withdraw()
    again = ward.withdraw()
    assert (again.n_exams, again.written, again.kept) == (0, (), ("hip_bmd v1",))
    assert ward.cohort().version == 2
    assert ward.withdraw(purge=True).purged == ("hip_bmd v1",)
    assert ward.withdraw(purge=True).purged == ()


@pytest.mark.parametrize("step", ["write_cohort", "delete_tokens", "mark_purged", "empty_version"])
def test_a_withdrawal_that_was_interrupted_keeps_the_person_out_and_is_finished_by_doing_it_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(client.people.withdrawal, step, die)
        with pytest.raises(KeyboardInterrupt):
            ward.withdraw(purge=True)
    assert open_site(ward.site.folder).linkage.is_withdrawn(ward.patient)
    ward.withdraw(purge=True)
    assert ward.patient not in ward.cohort().patients()
    assert sorted(path.name for path in (ward.site.cohorts / "hip_bmd" / "v1").iterdir()) == [
        "cohort.json", PURGED_FILE,
    ]  # fmt: skip


def test_a_number_that_was_never_taken_in_is_kept_out_when_it_comes(ward: Ward, tmp_path: Path) -> None:
    empty = create_site(tmp_path / "new", name="birch", declared_patients=8, profile=PROFILE).parent
    fresh = replace(ward, site=open_site(empty))
    assert any(ward.lateral_id in path.name for path in (ward.source / "films").iterdir())
    for patient_id in (ward.patient_id, ward.lateral_id):
        done = replace(fresh, patient_id=patient_id).withdraw()
        assert (done.n_exams, done.written, done.kept) == (0, (), ())
    assert fresh.patient not in fresh.ingest().cohort.patients()
    # nor is the name kept of a film that would not have been used anyway
    assert not [each for each in (ward.patient_id, ward.lateral_id) if each in fresh.linkage_text()]


def test_blanks_around_a_number_are_no_part_of_it(ward: Ward) -> None:
    assert replace(ward, patient_id=f"  {ward.patient_id}\t").withdraw().n_exams > 0
    assert ward.patient not in ward.cohort().patients()


def test_a_number_of_another_issuer_is_another_person(ward: Ward) -> None:
    assert ward.withdraw(issuer="ELSEWHERE").n_exams == 0
    assert ward.patient in ward.cohort().patients()
    with pytest.raises(PolicyError, match="first and last name"):
        ward.withdraw(by="Grace")
    assert not open_site(ward.site.folder).linkage.is_withdrawn(ward.patient)


def test_a_cohort_of_another_preprocessing_is_not_relabelled(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.people.withdrawal, "PREPROCESSING_VERSION", "later-2")
    with pytest.raises(IntakeError) as caught:
        ward.withdraw()
    assert caught.value.code == "intake.other-preprocessing"
    assert open_site(ward.site.folder).linkage.is_withdrawn(ward.patient)


def test_an_intake_and_a_withdrawal_wait_for_each_other(ward: Ward) -> None:
    done = threading.Event()

    def run() -> None:
        ward.withdraw()
        done.set()

    thread = threading.Thread(target=run)
    with ward.site.linkage.held():  # as an intake does from its first film to its last
        thread.start()
        assert not done.wait(0.3)
        ward.site.linkage.add({}, {"item": "films/x"})
    thread.join(30)
    assert done.is_set()
    linkage = open_site(ward.site.folder).linkage
    assert linkage.is_withdrawn(ward.patient)
    assert linkage.place_of("item") == "films/x"
    # and who read the file before does not write the person back
    ward.site.linkage.add({ward.patient: Identity("", ward.patient_id)}, {})
    assert open_site(ward.site.folder).linkage.identity_of(ward.patient) is None


def test_a_linkage_file_of_the_first_version_is_read_on(tmp_path: Path) -> None:
    names = Pseudonyms(b"\x05" * 32)
    patient = names.patient_key("", "17")
    content = {"version": 1, "patients": {patient: ["", "17"]}, "items": {"a": "films/a"}}
    sealed = seal(names.subkey("linkage"), json.dumps(content).encode(), purpose="linkage")
    (tmp_path / "linkage.bin").write_bytes(sealed)
    linkage = Linkage(tmp_path / "linkage.bin", names)
    assert (linkage.identity_of(patient), linkage.issuer_for("")) == (Identity("", "17"), "")
    linkage.withdraw(patient, by=BY, now=NOW)
    again = Linkage(tmp_path / "linkage.bin", names)
    assert (again.identity_of(patient), again.is_withdrawn(patient)) == (None, True)
    assert again.place_of("a") == "films/a"


def test_charges_stay_and_later_rounds_leave_the_person_out(sites: TableSites) -> None:
    trained = sites.split("train").arrays.patients
    patient, site = trained[0], sites.site()
    sites.answer(sites.train_request())
    spent = sites.gate().ledger.budget([patient], allowance=site.policy.allowance)
    assert spent.epsilon_spent > 0
    identity = site.linkage.identity_of(patient)
    assert identity is not None
    withdraw(site, identity.patient_id, by=BY, purge=True)
    ledger = sites.gate().ledger
    ledger.verify()
    assert ledger.budget([patient], allowance=site.policy.allowance) == spent
    sites.answer(sites.train_request(round=3))
    charges = [row for row in ledger.show() if row.kind == "charge"]
    folder = site.folder / "ledger" / "members"
    members = [json.loads((folder / f"{row.members_sha256}.json").read_bytes()) for row in charges]
    assert [set(each) for each in members] == [set(trained), set(trained) - {patient}]
    assert ledger.budget([patient], allowance=site.policy.allowance) == spent


def test_films_after_a_lock_are_not_taken_of_who_withdrew_or_was_in_a_purged_version(
    sites: TableSites,
) -> None:
    site = sites.site()
    before = set(sites.split(None).arrays.patients)
    write_table(sites.folder / "second" / "clinical.csv", range(500, 560))
    second = ingest_with(
        sites.folder / "second",
        store=site.cohorts,
        schema=sites.plan.settings.cohort,
        profile=site.settings.profile,
        pseudonyms=site.pseudonyms,
        linkage=site.linkage,
        clock=lambda: NOW,
        allows_fewer=True,
    )
    assert not before & set(second.cohort.patients())  # they are known from version 1 alone
    assert withdraw(site, "P00003", by=BY, purge=True).purged == (f"{second.cohort.name} v1",)
    _, path = lock_for(sites)
    archive = sites.folder / "later" / "clinical.csv"
    write_table(archive, [3, 4, *range(300, 340)])
    archive.write_text(archive.read_text().replace("2020-03-01", "2020-09-01"))
    later = open_site(site.folder, clock=lambda: datetime(2021, 1, 1, tzinfo=UTC))
    assert date(2020, 9, 1) > LOCKED.date()
    then = open_site(site.folder, clock=lambda: LOCKED)
    report = accrue(later, accept_lock(then, path, by=BY), archive.parent)
    codes = {(count.code, count.n) for count in report.counts}
    assert codes == {("intake.withdrawn", 1), ("intake.seen-in-training", 1)}
    assert not before & set(report.cohort.patients())


def test_a_damaged_note_of_a_purge_stops_the_accrual(ward: Ward) -> None:
    ward.withdraw(purge=True)
    note = ward.site.cohorts / "hip_bmd" / "v1" / PURGED_FILE
    note.write_bytes(canonical_json({"version": 1}))
    with pytest.raises(IntakeError) as caught:
        ever_in_cohort(ward.site, "hip_bmd")
    assert caught.value.code == "intake.unreadable-cohort"


@pytest.fixture
def ask(ward: Ward) -> Callable[..., Result]:
    """The command as a person at this site gives it."""
    fixed = ["withdraw", "--by", BY, "--folder", str(ward.site.folder)]
    return lambda *options, say="": CliRunner().invoke(app, [*fixed, *options], input=say)


def test_the_command_shows_what_it_found_asks_and_never_repeats_the_number(
    ward: Ward, ask: Callable[..., Result]
) -> None:
    n_exams = len(ward.cohort().exams_of(ward.patient))
    done = ask(say=f" {ward.patient_id} \ny\n")
    assert done.exit_code == 0, done.output
    assert re.search(rf"exams +{n_exams}\n.*cohorts +hip_bmd v1\n", done.stderr, re.DOTALL)
    assert re.search(r"learnt from the person +none\n", done.stderr)
    assert f"Does {BY} take this person out" in done.stderr
    assert "hip_bmd v2" in done.stdout
    assert re.search(r"older versions that still do +hip_bmd v1\n", done.stdout)
    assert ward.patient not in ward.cohort().patients()
    shown = done.output.replace(
        f" {ward.patient_id} \n", ""
    )  # the test's terminal repeats what is typed
    assert ward.patient_id not in shown


@pytest.mark.parametrize("answer", ["n", "", "yes please"])
def test_the_command_does_nothing_without_a_yes(
    ward: Ward, ask: Callable[..., Result], answer: str
) -> None:
    refused = ask("--patient-id", ward.patient_id, say=f"{answer}\n")
    assert refused.exit_code == 1
    assert "policy.not-confirmed" in refused.stderr
    assert ward.patient in ward.cohort().patients()
    assert not open_site(ward.site.folder).linkage.is_withdrawn(ward.patient)


def test_what_the_command_asks_stays_out_of_its_json(ward: Ward, ask: Callable[..., Result]) -> None:
    done = ask("--json", say=f"{ward.patient_id}\ny\n")
    told = json.loads(done.stdout)
    assert (told["found"], told["written"]) == (True, ["hip_bmd v2"])
    assert json.loads(ask("--json", "--yes", "--patient-id", ward.patient_id).stdout)["n_exams"] == 0


def test_a_mistyped_number_is_refused_even_with_a_yes_unless_it_is_to_be_kept_out(
    ward: Ward, ask: Callable[..., Result]
) -> None:
    nobody = ward.site.pseudonyms.patient_key("", "NOBODY-77")
    refused = ask("--patient-id", "NOBODY-77", "--yes", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"] == "intake.nobody-found"
    assert "NOBODY-77" not in refused.output
    assert not open_site(ward.site.folder).linkage.is_withdrawn(nobody)
    kept = ask("--patient-id", "NOBODY-77", "--keep-out", "--json")
    assert kept.exit_code == 0
    told = json.loads(kept.stdout)
    assert (told["found"], told["n_exams"]) == (False, 0)
    assert open_site(ward.site.folder).linkage.is_withdrawn(nobody)
    assert "nobody" in ask("--patient-id", "NOBODY-78", "--keep-out").stdout
    assert ward.patient in ward.cohort().patients()


def test_keeping_out_does_not_answer_for_somebody_who_is_here(
    ward: Ward, ask: Callable[..., Result]
) -> None:
    assert ask("--patient-id", ward.patient_id, "--keep-out").exit_code == 1
    assert ward.patient in ward.cohort().patients()
