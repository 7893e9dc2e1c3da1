"""The doctor: each fault that stops a hospital is seen, named and given a remedy; nothing changes."""

from __future__ import annotations

import json
import shutil
import ssl
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
import yaml
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from table_site import TableSites
from typer.testing import CliRunner

import client.doctor.connection as connection
import client.doctor.machine as machine
from client.command.app import app
from client.doctor.connection import Coordinator, clock_line, look_at_connection
from client.doctor.examine import AREAS, _last_round, examine, look_at_site
from client.gate.ledger import Budget, Ledger
from client.intake.decode import DECODERS
from client.people.withdrawal import withdraw
from client.site.folder import create_site
from client.site.policy import write_policy_template
from client.site.profile import SiteProfile
from server.federation.certificates import ensure_server_certificate
from server.federation.folder import Home
from shared.errors import IntakeError
from shared.machine.line import Line, is_well, observe
from shared.privacy.ledger_format import LedgerRow
from shared.signing.countersign import countersign

NOW = datetime.now(UTC)
ROOT = Path(__file__).parents[3]
DAY_S = 86400.0


def state_of(lines: Sequence[Line], name: str) -> list[tuple[str, str]]:
    return [(line.state, line.fact) for line in lines if line.name == name]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def served(
    folder: Path, *, status: int = 200, ahead_s: float = 0.0, hosts: tuple[str, ...] = ("127.0.0.1",)
) -> Iterator[Coordinator]:
    """A coordinator's server with the federation's own TLS, whose clock is ``ahead_s`` ahead."""
    certificate = ensure_server_certificate(folder, hosts=hosts, now=NOW)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status if self.path == "/health" else 404)
            self.send_header("Date", formatdate(time.time() + ahead_s, usegmt=True))
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        address = f"127.0.0.1:{server.server_address[1]}"
        yield Coordinator(superlink=address, root_certificate=certificate.authority)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_sound_coordinator_is_reached_and_its_certificates_and_clock_are_well(tmp_path: Path) -> None:
    with served(tmp_path) as coordinator:
        lines = look_at_connection(coordinator)
    states = {line.name: line.state for line in lines}
    assert states == {
        "proxy": "ok",
        "root certificate": "ok",
        "coordinator": "ok",
        "server certificate": "ok",
        "clock": "ok",
        "gRPC health": "not checked",
    }
    assert is_well(lines)


def test_flower_still_tolerates_what_the_doctor_says() -> None:
    assert connection.MOST_AHEAD_S == SYSTEM_TIME_TOLERANCE
    assert connection.MOST_BEHIND_S == TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE


@pytest.mark.parametrize(
    ("ahead_s", "state"),
    [
        *((8, "problem"), (5, "problem"), (4, "attention"), (1, "ok")),
        *((-1, "ok"), (-90, "attention"), (-304, "attention"), (-400, "problem")),
    ],
)
def test_a_clock_that_flower_would_turn_away_is_a_problem(ahead_s: float, state: str) -> None:
    assert clock_line(ahead_s).state == state


def test_the_clock_is_compared_with_the_servers_own_and_the_sign_is_right(tmp_path: Path) -> None:
    with served(tmp_path, ahead_s=400) as coordinator:
        behind = look_at_connection(coordinator)
    with served(tmp_path, ahead_s=-8) as coordinator:
        ahead = look_at_connection(coordinator)
    [(state, fact)] = state_of(behind, "clock")
    assert state == "problem"
    assert fact.endswith("behind the coordinator")
    [(state, fact)] = state_of(ahead, "clock")
    assert state == "problem"
    assert fact.endswith("ahead of the coordinator")


@pytest.mark.parametrize(
    ("days", "state"),
    [
        (61, "ok"),
        (60, "attention"),
        (30, "attention"),
        (8, "attention"),
        (7, "problem"),
        (-1, "problem"),
    ],
)
def test_certificates_are_noted_at_60_30_and_7_days(tmp_path: Path, days: int, state: str) -> None:
    with served(tmp_path) as coordinator:
        ends = ensure_server_certificate(tmp_path, hosts=("127.0.0.1",), now=NOW).expires.timestamp()
        lines = look_at_connection(coordinator, now=lambda: ends - (days + 0.5) * DAY_S)
    [(found, _)] = state_of(lines, "server certificate")
    assert found == state


def test_haste_grows_as_a_certificate_nears_its_end(tmp_path: Path) -> None:
    remedies = []
    with served(tmp_path) as coordinator:
        for days in (45, 20, 3):
            moment = NOW.timestamp() + (365 - days) * DAY_S
            lines = look_at_connection(coordinator, now=lambda moment=moment: moment)
            remedies += [line.remedy for line in lines if line.name == "server certificate"]
    assert [remedy.split(",")[0] for remedy in remedies] == ["within 30 days", "this week", "today"]


def test_an_authority_of_another_federation_is_distrusted(tmp_path: Path) -> None:
    other = ensure_server_certificate(tmp_path / "other", hosts=("127.0.0.1",), now=NOW)
    with served(tmp_path / "own") as coordinator:
        asked = Coordinator(superlink=coordinator.superlink, root_certificate=other.authority)
        lines = look_at_connection(asked)
    [(state, fact)] = state_of(lines, "coordinator")
    assert state == "problem"
    assert "not trusted" in fact
    assert not state_of(lines, "clock")  # what an impostor says about the time is worth nothing


def test_a_certificate_for_another_name_is_told_from_a_foreign_one(tmp_path: Path) -> None:
    with served(tmp_path, hosts=("elsewhere.example",)) as coordinator:
        [line] = [each for each in look_at_connection(coordinator) if each.name == "coordinator"]
    assert line.state == "problem"
    assert "name" in line.remedy


def test_an_unreachable_or_unready_server_is_a_problem(tmp_path: Path) -> None:
    with served(tmp_path, status=503) as coordinator:
        [(state, fact)] = state_of(look_at_connection(coordinator), "coordinator")
    assert state == "problem"
    assert "503" in fact
    [(state, fact)] = state_of(look_at_connection(coordinator), "coordinator")
    assert (state, "no answer" in fact) == ("problem", True)


def test_a_file_that_holds_no_authority_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        lines = look_at_connection(Coordinator(superlink="", root_certificate=path))
        assert state_of(lines, "root certificate")[0][0] == "problem"


def test_a_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://nurse:geheim@proxy.hospital:3128")
    lines = look_at_connection(Coordinator(superlink="127.0.0.1:1"))
    [(state, fact)] = state_of(lines, "proxy")
    assert state == "attention"
    assert "proxy.hospital:3128" in fact
    assert "geheim" not in json.dumps([line.__dict__ for line in lines])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert state_of(look_at_connection(Coordinator(superlink="127.0.0.1:1")), "proxy")[0][0] == "ok"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (health_pb2.HealthCheckResponse.SERVING, "ok"),
        (health_pb2.HealthCheckResponse.NOT_SERVING, "problem"),
    ],
)
def test_grpc_health_is_asked(status: int, state: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    servicer = health.HealthServicer()
    servicer.set("", status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    asked = Coordinator(superlink="", health=f"127.0.0.1:{port}")
    try:
        assert state_of(look_at_connection(asked), "gRPC health")[0][0] == state
    finally:
        server.stop(None).wait()
    assert state_of(look_at_connection(asked), "gRPC health")[0][0] == "problem"


def test_every_decoder_really_decodes_its_tiny_film(tmp_path: Path) -> None:
    assert {path.stem for path in machine.TINY_FILMS.iterdir()} == set(DECODERS)
    assert machine.decode_tiny_films().state == "ok"
    shutil.copytree(machine.TINY_FILMS, tmp_path / "films")
    lossless, lossy = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.50"
    native = tmp_path / "films" / "1.2.840.10008.1.2.1.dcm"
    changed = bytearray(native.read_bytes())
    changed[-1] ^= 1
    native.write_bytes(changed)
    for syntax in (lossless, lossy):
        damaged = tmp_path / "films" / f"{syntax}.dcm"
        damaged.write_bytes(damaged.read_bytes()[:-60])
    line = machine.decode_tiny_films(tmp_path / "films")
    assert line.state == "problem"
    for syntax in (lossless, lossy, "1.2.840.10008.1.2.1"):
        assert syntax in line.fact


def test_the_versions_said_to_be_tested_are_the_pinned_ones() -> None:
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name, version in machine.TESTED.items():
        assert any(pin.startswith(name) and f">={version}" in pin for pin in pins), name


def test_another_version_little_memory_and_a_full_disk_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_version", lambda name: "1.43.0" if name == "flwr" else "2.13.0")
    monkeypatch.setattr(machine, "_free_memory", lambda: 1e9)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(machine, "look_at_processor", lambda: [])
    monkeypatch.setattr(machine, "decode_tiny_films", lambda: [])
    lines = machine.look_at_machine(tmp_path, is_quick=False)
    assert {line.name: line.state for line in lines} == dict.fromkeys(
        ("versions", "memory", "disk"), "problem"
    )
    assert "flwr 1.42" in lines[0].remedy
    quick = machine.look_at_machine(tmp_path, is_quick=True)
    assert [line.state for line in quick] == ["problem", "attention", "problem"]


def test_the_memory_that_a_container_may_still_take_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_free_memory", lambda: 64e9)
    monkeypatch.setattr(machine, "_memory_left_to_container", lambda: 2e9)
    line = machine._memory(is_quick=False)
    assert line.state == "attention"
    assert line.fact == "1.9 GiB of what this container may take is free now"
    monkeypatch.setattr(machine, "_memory_left_to_container", lambda: float("inf"))
    assert machine._memory(is_quick=False).fact == "59.6 GiB of this machine is free now"


@pytest.mark.parametrize(("left", "state"), [(0.0, "attention"), (0.01, "ok")])
def test_a_site_whose_dearest_patient_has_nothing_left_is_to_be_looked_at(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch, left: float, state: str
) -> None:
    sites.answer(sites.train_request())
    budget = Budget(epsilon_spent=1.0, epsilon_left=left, delta=1e-5, n_unprotected=0)
    monkeypatch.setattr(Ledger, "budget_of_everybody", lambda *_, **__: budget)
    [(found, fact)] = state_of(look_at_site(sites.site().folder, is_quick=True), "ledger")
    assert found == state
    assert f"epsilon {left:.2f} left" in fact


def test_a_site_that_trained_shows_its_round_and_whether_it_was_accepted(sites: TableSites) -> None:
    site = sites.site()
    sites.answer(sites.train_request())
    [(state, fact)] = state_of(look_at_site(site.folder, is_quick=False), "last round")
    assert state == "ok"
    assert fact.startswith("round 2 of cytology")
    assert fact.endswith("not countersigned yet")
    ledger = sites.gate().ledger
    head = ledger.head().sha256
    coordinator = Home(sites.folder / "coordinator").key()
    signature = countersign(
        coordinator, site=site.name, plan_sha256=sites.plan_sha256, ledger_head=head
    )
    ledger.record_countersignature(
        head,
        signature,
        plan_sha256=sites.plan_sha256,
        coordinator_key=site.coordinator_key,
    )
    [(state, fact)] = state_of(look_at_site(site.folder, is_quick=True), "last round")
    assert fact.endswith("accepted")


def row(kind: str, index: int, **values: object) -> LedgerRow:
    """A row of a ledger; an outcome is that of round ``index`` of training unless said otherwise."""
    given = {"utc": f"2026-03-0{index}T10:20:30+00:00", "run": "spring", "round": index}
    told = {"purpose": "train", "status": "released"} if kind == "outcome" else {}
    fixed = {"index": index, "kind": kind, "previous_sha256": "", "site": "elm", "public_key": ""}
    return LedgerRow(**(fixed | given | told | values))


def test_the_last_round_is_the_last_that_left_and_a_later_failure_is_noted() -> None:
    first, second = row("outcome", 1), row("outcome", 2)
    line = _last_round([row("charge", 1), first, second], {first.sha256})
    assert (line.state, line.fact) == (
        "ok",
        "round 2 of spring, 2026-03-02 10:20 UTC, sent, and not countersigned yet",
    )
    # a signature under that row, or any that follows it, covers it
    charged = row("charge", 3)
    for signed in (second, charged):
        line = _last_round([first, second, charged], {signed.sha256})
        assert line.fact.endswith("UTC, accepted")
    failed = row("outcome", 3, status="failed")
    line = _last_round([first, second, failed], {second.sha256})
    assert line.state == "attention"
    assert line.fact.startswith("round 2 of spring")
    assert line.fact.endswith("accepted; round 3 of spring ended with failed")
    # a failure before the last release is over; one of a measurement is no round
    for other in (row("outcome", 1, status="failed"), row("outcome", 3, purpose="evaluate.internal")):
        rows = sorted([other, second], key=lambda each: each.index)
        assert _last_round(rows, {second.sha256}).state == "ok"
    for rows in ([], [row("charge", 1)], [row("outcome", 1, purpose="evaluate.internal")]):
        assert _last_round(rows, set()).fact == "none yet"
    assert _last_round([failed], set()).fact == "none yet"


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({}, "ok", "epsilon 3 a run, 10 for life"),
        ({"epsilon_per_run": 2.0, "epsilon_lifetime": 7.5}, "ok", "epsilon 2 a run, 7.5 for life"),
        ({"allows_privacy_off": True}, "attention", "; allows training without noise"),
        (
            {"allows_governed": True, "governed_approved_by": "Grace Hopper"},
            "attention",
            "; allows exact numbers (governed)",
        ),
    ],
)
def test_a_policy_is_said_by_its_caps_and_what_widens_it_is_asked_about(
    sites: TableSites, changes: dict[str, object], state: str, words: str
) -> None:
    site = sites.site()
    path = site.folder / "policy.yaml"
    template = tmp_policy(site.folder.parent / "template.yaml")
    path.write_text(yaml.safe_dump(template | changes))
    [(found, fact)] = state_of(look_at_site(site.folder, is_quick=True), "policy")
    assert found == state
    assert fact.endswith(words)


def tmp_policy(path: Path) -> dict[str, object]:
    write_policy_template(path)
    content: dict[str, object] = yaml.safe_load(path.read_text())
    return content


def test_a_folder_that_everybody_may_write_into_is_a_problem(sites: TableSites) -> None:
    folder = sites.site().folder
    folder.chmod(0o757)
    [(state, fact), _] = state_of(look_at_site(folder, is_quick=True), "keys")
    assert (state, fact) == ("problem", "everybody may write into the folder")


def test_a_folder_or_a_reading_that_others_may_look_into_is_said_with_its_remedy(
    sites: TableSites,
) -> None:
    site = sites.site()
    assert state_of(look_at_site(site.folder, is_quick=True), "keys")[0][0] == "ok"
    drawn = site.readings / "20260102T030405000006Z.png"
    drawn.parent.mkdir(mode=0o700)
    drawn.touch(mode=0o600)
    for path, mode, remedy in (
        (site.folder, 0o750, f"chmod 700 {site.folder}"),
        (drawn, 0o644, f"chmod -R go= {site.readings}"),
    ):
        before = path.stat().st_mode
        path.chmod(mode)
        lines = [line for line in look_at_site(site.folder, is_quick=True) if line.name == "keys"]
        assert [line.state for line in lines] == ["attention", "ok"]
        assert lines[0].remedy == remedy
        path.chmod(before & 0o700)
    assert state_of(look_at_site(site.folder, is_quick=True), "keys")[0][0] == "ok"


def test_a_key_that_this_user_may_not_read_is_a_problem(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sites.site().folder
    closed = folder / "keys" / "pseudonym.key"
    monkeypatch.setattr("os.access", lambda path, _: path != closed)
    found = state_of(look_at_site(folder, is_quick=True), "keys")
    assert found == [("problem", "keys/pseudonym.key cannot be read")]


def test_only_the_areas_that_were_asked_for_are_looked_at(sites: TableSites) -> None:
    folder, nowhere = sites.site().folder, Coordinator(superlink="")
    by_area = {
        area: {line.name for line in examine(folder, nowhere, is_quick=True, areas=(area,))}
        for area in AREAS
    }
    assert by_area["machine"] == {"versions", "memory", "disk"}
    assert {"site", "keys", "policy", "ledger", "approval"} <= by_area["site"]
    assert {"proxy", "coordinator", "gRPC health"} <= by_area["connection"]
    assert not by_area["machine"] & by_area["site"]
    every = [line.name for line in examine(folder, nowhere, is_quick=True)]
    assert set(every) == set.union(*by_area.values())
    assert every[0] == "versions"
    assert every[-1] == "gRPC health"


def test_a_site_without_a_cohort_a_plan_or_a_coordinator_is_told_what_to_do_next(
    tmp_path: Path,
) -> None:
    create_site(tmp_path, name="fern", declared_patients=100, profile=SiteProfile())
    lines = {line.name: line for line in look_at_site(tmp_path, is_quick=True)}
    assert lines["site"].fact == "fern has not joined"
    assert lines["cohorts"].state == "not checked"
    assert "ingest" in lines["cohorts"].remedy
    assert lines["linkage"].fact == "nobody was ever taken in"
    assert "approval" not in lines, "nobody is there whose plan could be approved"


def test_a_joined_site_that_has_approved_nothing_is_told_so(sites: TableSites) -> None:
    folder = sites.site().folder
    for path in (folder / "approvals").rglob("*.json"):
        path.unlink()
    lines = {line.name: line for line in look_at_site(folder, is_quick=True)}
    assert lines["approval"].state == "not checked"
    assert "approve" in lines["approval"].remedy
    assert lines["linkage"].fact.startswith("identities and withdrawals open")
    assert lines["site"].state == "ok"


def test_what_is_no_site_is_one_problem(tmp_path: Path) -> None:
    [line] = look_at_site(tmp_path / "nothing", is_quick=True)
    assert (line.name, line.state) == ("site", "problem")
    assert line.remedy


def test_the_doctor_changes_nothing_in_a_site(sites: TableSites) -> None:
    folder = sites.site().folder
    sites.answer(sites.train_request())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = examine(folder, Coordinator(superlink=""))
    assert is_well(lines), [line for line in lines if line.state == "problem"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_new_site_is_told_what_is_missing_and_gets_no_ledger(tmp_path: Path) -> None:
    create_site(tmp_path, name="fern", declared_patients=100, profile=SiteProfile())
    lines = look_at_site(tmp_path, is_quick=False)
    assert state_of(lines, "site")[0][0] == "problem"
    assert state_of(lines, "ledger") == [("ok", "nothing was ever charged")]
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize(
    ("name", "harm", "what"),
    [
        ("keys/pseudonym.key", lambda path: path.chmod(0o640), "keys"),
        ("keys/signing.pem", lambda path: path.chmod(0o640), "keys"),
        ("keys/signing.pem", lambda path: path.unlink(), "keys"),
        ("keys/signing.pem", lambda path: path.write_bytes(b"-----BEGIN"), "keys"),
        ("linkage/linkage.bin", lambda path: path.chmod(0o644), "keys"),
        ("linkage/linkage.bin", lambda path: path.write_bytes(b"torn"), "linkage"),
        ("linkage/linkage.bin", lambda path: path.unlink(), "linkage"),
        ("ledger/ledger.jsonl", lambda path: path.unlink(), "ledger"),
        ("policy.yaml", lambda path: path.write_text("version: 9"), "policy"),
        (
            "ledger/ledger.jsonl",
            lambda path: path.write_bytes(path.read_bytes()[:40] + b"\n"),
            "ledger",
        ),
    ],
)
def test_each_harm_to_a_site_is_a_problem_with_a_remedy(
    sites: TableSites, name: str, harm: Callable[[Path], None], what: str
) -> None:
    site = sites.site()
    Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
    harm(site.folder / name)
    found = [line for line in look_at_site(site.folder, is_quick=True) if line.state == "problem"]
    assert found[0].name == what
    assert all(line.remedy for line in found)


def test_a_node_key_that_another_container_holds_is_said_and_no_problem(sites: TableSites) -> None:
    folder = sites.site().folder
    (folder / "keys" / "node.key").unlink()
    states = [line.state for line in look_at_site(folder, is_quick=True) if line.name == "keys"]
    assert states == ["not checked", "ok"]


def test_films_that_an_unfinished_intake_left_are_noted(sites: TableSites) -> None:
    site = sites.site()
    assert state_of(look_at_site(site.folder, is_quick=True), "fetched films") == []
    film = site.staging / "hip_bmd" / ("a" * 32) / f"{'b' * 32}.dcm"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"film")
    (line,) = state_of(look_at_site(site.folder, is_quick=True), "fetched films")
    assert line[0] == "attention"
    assert "1 films" in str(line)


def test_code_other_than_the_approved_plans_is_noted(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sites.site().folder
    assert state_of(look_at_site(folder, is_quick=True), "approval")[0][0] == "ok"
    monkeypatch.setattr("client.doctor.examine.installed_code_hash", lambda: "9" * 64)
    assert state_of(look_at_site(folder, is_quick=False), "approval")[0][0] == "attention"


def test_a_container_that_waits_for_a_new_plan_or_trains_in_little_memory_is_not_unhealthy(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sites.site().folder
    monkeypatch.setattr("client.doctor.examine.installed_code_hash", lambda: "9" * 64)
    monkeypatch.setattr(machine, "_free_memory", lambda: 1e9)
    lines = examine(folder, Coordinator(superlink=""), is_quick=True, areas=("machine", "site"))
    noted = [line for line in lines if line.name in ("approval", "memory")]
    assert [line.state for line in noted] == ["attention", "attention"]
    assert all(line.remedy for line in noted)
    assert is_well(lines)


def test_a_cohort_that_was_changed_is_named_by_the_full_form_which_reads_every_version(
    sites: TableSites,
) -> None:
    folder = sites.site().folder
    withdraw(sites.site(), "P00003", by="Grace Hopper")
    [(state, fact)] = state_of(look_at_site(folder, is_quick=False), "cohort breast_cytology")
    assert (state, fact) == ("ok", "v2; every version is as it was frozen")
    for version in ("v2", "v1"):
        exams = folder / "cohorts" / "breast_cytology" / version / "exams.jsonl"
        whole = exams.read_bytes()
        exams.chmod(0o600)
        exams.write_bytes(whole + b"\n")
        [line] = [
            each
            for each in look_at_site(folder, is_quick=False)
            if each.name == "cohort breast_cytology"
        ]
        assert (line.state, version in line.fact) == ("problem", True)
        assert "changed-cohort" in line.fact
        assert line.remedy
        quick = look_at_site(folder, is_quick=True)
        assert state_of(quick, "cohort breast_cytology") == [("ok", "v2")]
        exams.write_bytes(whole)


def test_a_cohort_of_which_no_version_was_frozen_is_not_called_well(sites: TableSites) -> None:
    folder = sites.site().folder
    (folder / "cohorts" / "hip_bmd" / ".intake").mkdir(parents=True)
    for is_quick in (True, False):
        lines = look_at_site(folder, is_quick=is_quick)
        assert state_of(lines, "cohort hip_bmd") == [("attention", "no version was frozen yet")]
        assert state_of(lines, "cohort breast_cytology")[0][0] == "ok"


def test_one_broken_look_does_not_silence_the_others_and_repeats_no_text() -> None:
    def break_with_a_name() -> Line:
        raise RuntimeError("Mustermann^Erika")

    [line] = observe("anything", break_with_a_name)
    assert line.state == "problem"
    assert "Mustermann" not in line.fact + line.remedy
    assert "RuntimeError in test_examine.py, line " in line.fact
    [line] = observe(
        "anything", lambda: (_ for _ in ()).throw(IntakeError("no-site", "fact", hint="do"))
    )
    assert (line.fact, line.remedy) == ("intake.no-site: fact", "do")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ModuleNotFoundError("gdcm"), "install"),
        (PermissionError("/site/Mustermann"), "rights"),
        (ValueError("Mustermann"), "pass the line on"),
    ],
)
def test_the_remedy_for_what_was_not_foreseen_fits_its_kind(error: Exception, remedy: str) -> None:
    def look() -> Line:
        raise error

    [line] = observe("anything", look)
    assert remedy in line.remedy
    assert "Mustermann" not in line.fact + line.remedy


def test_the_command_ends_with_1_for_a_problem_and_speaks_json(sites: TableSites) -> None:
    folder = str(sites.site().folder)
    run = CliRunner().invoke
    well = run(app, ["doctor", "--folder", folder, "--quick", "--json"])
    assert well.exit_code == 0, well.output
    told = json.loads(well.stdout)
    assert told["verdict"] == "ok"
    assert {"name", "state", "fact", "remedy"} == set(told["lines"][0])
    (sites.site().folder / "keys" / "signing.pem").chmod(0o644)
    ill = run(app, ["doctor", "--folder", folder, "--quick", "--json"])
    assert ill.exit_code == 1
    assert json.loads(ill.stdout)["verdict"] == "problem"
    link = run(app, ["doctor", "--folder", folder, "--quick", "--only", "machine"])
    assert link.exit_code == 0
    assert "remedy" in link.stdout
    assert run(app, ["doctor", "--only", "weather"]).exit_code == 2


def test_the_quick_form_imports_no_torch_and_is_done_within_5_s_of_processor_time(
    sites: TableSites,
) -> None:
    import subprocess
    import sys

    program = (
        "import sys, time\nfrom pathlib import Path\nfrom client.doctor.examine import examine\n"
        "from client.doctor.connection import Coordinator\n"
        "examine(Path(sys.argv[1]), Coordinator(superlink=''), is_quick=True)\n"
        "print(time.process_time())\n"
        "sys.exit(len({'torch', 'flwr', 'pydicom', 'opacus'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(sites.site().folder)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5
