"""From a PACS to a trained round, in a real deployment; what is foreign is refused; nothing leaks."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import practice_pacs_federation as practice
import pytest
from leak_search import Haystack
from practice_intake import ingest_with
from practice_pacs_federation import ROOT, Federation
from practice_services import Pacs

from client.cohort.folder import Cohort, open_cohort
from client.gate.outbox import Departure, Outbox
from client.site.linkage import Linkage
from server.engines import superlink
from server.engines.superlink import Deployment
from server.federation.folder import create_home
from server.run.folder import RunStore
from server.run.release import make_release
from shared.errors import RunError
from shared.exam.schema import read_schema
from shared.privacy.ledger_format import LedgerRow
from shared.signing.canonical import hash_file, hash_of
from shared.signing.code_hash import code_hash, installed_code_hash

pytestmark = [pytest.mark.services, pytest.mark.deployed, pytest.mark.slow]

HIP = ROOT / "configs" / "cohort" / "hip_bmd.yaml"
SITES = ("elm", "fir")


@dataclass
class Recorder:
    """Everything that ever stands in the SuperLink's tables, read beside it while it works."""

    database: Path
    cells: set[bytes] = field(default_factory=set)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Recorder:
        self._thread = threading.Thread(target=self._record)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _record(self) -> None:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as link:
            found = link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            tables = [name for (name,) in found if name != "fab"]  # the coordinator's own bundle
            while not self._is_over.wait(0.15):
                for name in tables:
                    for row in link.execute(f'SELECT * FROM "{name}"'):
                        self.cells |= {cell for cell in row if isinstance(cell, bytes)}
                        self.cells |= {cell.encode() for cell in row if isinstance(cell, str)}


@dataclass(frozen=True)
class TakenIn:
    """A hospital's cohort when it was fresh from the PACS, and what the command said of it."""

    cohort: Cohort
    report: dict[str, object]


@dataclass(frozen=True)
class Played:
    """A run that trained and validated, and the cells that the SuperLink's tables held meanwhile."""

    federation: Federation
    store: RunStore
    cells: set[bytes]


@dataclass(frozen=True)
class Refused:
    """A run of a foreign bundle: its store, and ledger rows and departures of elm before it."""

    store: RunStore
    error: RunError
    betrayal: Path
    rows: dict[str, list[LedgerRow]]
    n_departures: dict[str, int]
    cells: set[bytes]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    folder = tmp_path_factory.mktemp("pacs")
    federation = Federation(folder, create_home(folder / "coordinator"))
    federation.found(*SITES)
    return federation


@pytest.fixture(scope="module")
def taken_in(federation: Federation, pacs: Pacs) -> dict[str, TakenIn]:
    """Each hospital's films through Orthanc into its cohort: elm by DICOMweb, fir by DIMSE."""
    ways = {
        "elm": ("--dicomweb", pacs.url),
        "fir": ("--dimse", f"127.0.0.1:{pacs.dimse_port}", "--called-aet", pacs.called_aet),
    }
    taken_in = {}
    for name, way in ways.items():
        films = federation.archive(name) / "films"
        assert pacs.push(films) == len(list(films.iterdir()))
        report = practice.ingest_by_command(federation, name, *way)
        taken_in[name] = TakenIn(cohort_of(federation, name), report)
        pacs.empty()
    return taken_in


@pytest.fixture(scope="module")
def deployment(federation: Federation, taken_in: dict[str, TakenIn]) -> Iterator[Deployment]:
    with practice.deployed(federation) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def played(federation: Federation, deployment: Deployment) -> Played:
    """A round, then an internal validation that fails at fir with a patient's name in its error."""
    store = federation.begin("spring")
    with Recorder(deployment.work / "superlink.sqlite") as recorder:
        deployment.play(store, "train", timeout_s=200)
        make_release(store, federation.home.key())
        spoil(federation)
        with pytest.raises(RunError, match=r"required sites: fir \(osteofed\.internal\)"):
            deployment.play(store, "internal", timeout_s=200)
    return Played(federation, store, recorder.cells)


@pytest.fixture(scope="module")
def refused(
    federation: Federation,
    deployment: Deployment,
    played: Played,
    tmp_path_factory: pytest.TempPathFactory,
) -> Refused:
    """A coordinator ships other code, and a plan written for it that both sites approved unread."""
    shipped = tmp_path_factory.mktemp("shipped")
    betrayal = shipped / "ran-at-a-site"
    foreign_bundle(shipped, betrayal)
    store = federation.begin("autumn", "federation.liveness_s=12", code_sha256=code_hash(shipped))
    rows = {name: federation.ledger(name).show() for name in SITES}
    n_departures = {name: len(departures(federation, name)) for name in SITES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(superlink, "PROJECT", shipped)
        with (
            Recorder(deployment.work / "superlink.sqlite") as recorder,
            pytest.raises(RunError) as stop,
        ):
            deployment.play(store, "train", timeout_s=200)
    return Refused(store, stop.value, betrayal, rows, n_departures, recorder.cells)


def foreign_bundle(folder: Path, betrayal: Path) -> None:
    """This project with a client that leaves a mark wherever it is imported."""
    for package in ("server", "client", "shared"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.pyc"))
    for file in ("pyproject.toml", "LICENSE"):
        shutil.copyfile(ROOT / file, folder / file)
    mark = f"import pathlib\napp = pathlib.Path({str(betrayal)!r}).write_text('ran')\n"
    for module in ("app.py", "node/executor.py", "gate/gate.py", "answers/answer.py"):
        path = folder / "client" / module
        if not path.exists():
            raise ValueError(f"{module} is not of this project any more")
        path.write_text(mark)


def departures(federation: Federation, name: str) -> list[Departure]:
    folder = federation.site_folder(name)
    return list(Outbox(folder / "outbox", folder / "replies").show())


def spoil(federation: Federation) -> None:
    """Make fir's cohort fail on a value that names a patient, where intake would not let it in."""
    folder = cohort_of(federation, "fir").folder
    exams = [json.loads(line) for line in (folder / "exams.jsonl").read_bytes().splitlines()]
    for exam in exams:
        exam["values"]["age"] = practice.NAME_CANARY
    head = json.loads((folder / "cohort.json").read_bytes())
    folder.chmod(0o700)
    for path in (folder / "exams.jsonl", folder / "cohort.json"):
        path.chmod(0o600)
    (folder / "exams.jsonl").write_text("".join(json.dumps(exam) + "\n" for exam in exams))
    head["files"]["exams.jsonl"] = hash_file(folder / "exams.jsonl")
    del head["fingerprint"]
    (folder / "cohort.json").write_text(json.dumps(head | {"fingerprint": hash_of(head)}))


def cohort_of(federation: Federation, name: str) -> Cohort:
    return open_cohort(federation.site_folder(name) / "cohorts" / "hip_bmd" / "v1")


def test_cohorts_by_both_protocols_are_those_of_the_folder(
    federation: Federation, taken_in: dict[str, TakenIn], tmp_path: Path
) -> None:
    for name, taken in taken_in.items():
        site = federation.site(name)
        straight = ingest_with(
            federation.archive(name),
            store=tmp_path / name,
            schema=read_schema(HIP),
            profile=site.settings.profile,
            pseudonyms=site.pseudonyms,
            linkage=Linkage(tmp_path / name / "linkage.bin", site.pseudonyms),
            clock=site.clock,
        )
        assert taken.cohort.exams == straight.cohort.exams
        assert taken.cohort.files["images.npy"] == straight.cohort.files["images.npy"]
        expected = straight.summary()
        assert len(taken.cohort.exams) >= 12
        assert {part["code"] for part in expected["quarantined"]} >= {"intake.burned-in-annotation"}
        for key in ("films", "rows", "exams", "patients", "links", "quarantined", "lost_fraction"):
            assert taken.report[key] == expected[key], key


def test_a_round_over_films_of_the_pacs_is_committed_and_charged_once(played: Played) -> None:
    done, plan = played.store.training.last_committed(), played.store.plan
    assert done.round == 1
    assert {part.site for part in done.contributions} == set(SITES)
    assert done.missing == {}
    for part in done.contributions:
        ledger = played.federation.ledger(part.site)
        ledger.verify()
        [charge] = [row for row in ledger.show() if (row.kind, row.purpose) == ("charge", "train")]
        assert (charge.plan_sha256, charge.round) == (plan.sha256, 1)
        assert part.ledger_head in {
            row.sha256 for row in ledger.show() if row.charge_index == charge.index
        }
        assert (charge.charge_class, charge.stage, charge.steps) == ("dp", "train", 1)
        assert plan.training is not None
        assert charge.noise_multiplier == plan.training.noise_multiplier >= 1
    assert not np.array_equal(played.store.averaged(), played.store.training.committed_vector(0))


def test_a_foreign_bundle_is_refused_before_any_of_it_is_at_a_site_and_nobody_is_charged(
    played: Played, refused: Refused
) -> None:
    federation = played.federation
    assert refused.store.plan.code_sha256 != installed_code_hash()
    assert refused.error.code == "run.site-absent"
    assert refused.store.training.last_committed().round == 0
    assert {(e.site, e.code) for e in refused.store.events()} >= {
        (name, "plan.other-code") for name in SITES
    }
    assert not refused.betrayal.exists(), "code that came by network ran at a site"
    unpacked = federation.home.folder / "deployment" / "flower" / "apps"
    assert len(list(unpacked.iterdir())) == 2, "the coordinator runs its own bundles, one of each hash"
    for name in SITES:
        assert federation.ledger(name).show() == refused.rows[name]
        left = departures(federation, name)[refused.n_departures[name] :]
        assert {(one.channel, one.release_class) for one in left} == {("refusal", "status")}
        assert not list(federation.site_folder(name).rglob("*.fab"))
        assert not list(federation.site_folder(name).rglob("apps"))
        assert not list(federation.site_folder(name).rglob("*.py"))


def test_nothing_planted_at_a_site_is_among_all_that_the_coordinator_has(
    played: Played, refused: Refused
) -> None:
    federation, home = played.federation, played.federation.home.folder
    files = [path for path in home.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"superlink.sqlite", "superlink.sqlite-wal", "superlink.log", "commands.log"} <= names
    assert {"coordinator-executor.log", "elm.safetensors", "fir.safetensors", "plan.json"} <= names
    validated = played.store.folder / "replies" / "internal" / "0001"
    assert {validated / "elm.safetensors", validated / "fir.safetensors"} <= set(files)
    came = b"\n".join([*played.cells, *refused.cells])
    had = Haystack(came + contents(files))
    n_parameters = len(played.store.averaged())
    for name, journalled in played.store.training.journal(n_parameters).read(1).accepted.items():
        assert journalled.reply.signature.encode() in came, "replies were seen before they were deleted"
        assert had.has(federation.site(name).key.public_hex)

    assert len(federation.planted) == 15
    archives = [path for path in (federation.folder / "archives").rglob("*") if path.is_file()]
    own = Haystack(contents(archives) + practice.PATH_CANARY.encode())
    assert {word for word in federation.planted if not own.has(word)} == set()
    assert {word for word in federation.planted if had.has(word)} == set()


def test_an_error_that_names_a_patient_stays_in_the_log_of_its_site(played: Played) -> None:
    log = (played.federation.site_folder("fir") / "log" / "refusals.jsonl").read_text()
    first = json.loads(log.splitlines()[0])
    assert first["code"] == "osteofed.internal"
    assert f"could not convert string to float: {practice.NAME_CANARY!r}" in first["text"]
    results = played.store.results("internal")
    assert results.rejected == {"fir": "osteofed.internal"}
    assert {site: entry.reply.status for site, entry in results.accepted.items()} == {"elm": "measured"}


def contents(files: Iterable[Path]) -> bytes:
    """Names and bytes of files."""
    return b"\n".join(part for path in files for part in (str(path).encode(), path.read_bytes()))
