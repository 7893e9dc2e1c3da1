"""What the coordinator's doctor says of homes that are well, old, open, damaged or alone."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import ssl
import threading
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.engines import doctor
from server.engines.doctor import certificate_lines, examine
from server.engines.superlink import CONNECTION, Deployment
from server.federation.certificates import AUTHORITY_YEARS, SERVER_DAYS, ensure_server_certificate
from server.federation.folder import Home, create_home
from shared.machine.line import Line, is_well

NOW = datetime.now(UTC)
HOSTS = ("127.0.0.1", "localhost")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A coordinator that has served before."""
    home = create_home(tmp_path / "home")
    deployment = Deployment(home.folder)
    ensure_server_certificate(deployment.authority.parent, hosts=HOSTS, now=NOW)
    with sqlite3.connect(deployment.work / "superlink.sqlite") as database:
        database.execute("CREATE TABLE node (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO node (name) VALUES (?)", [("x" * 500,)] * 2000)
    return home


@pytest.fixture
def answering(home: Home) -> Iterator[Home]:
    """Its server answers, as far as a handshake goes."""
    folder = Deployment(home.folder).authority.parent
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    listening = doctor_port(home)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield home
    listening.shutdown(2)
    listening.close()
    thread.join(5.0)


def doctor_port(home: Home) -> socket.socket:
    """A port that is the home's."""
    listening = socket.create_server(("127.0.0.1", 0))
    flower = Deployment(home.folder).work / "flower"
    flower.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    (flower / "config.toml").write_text(f'[superlink.{CONNECTION}]\naddress = "{address}"\n')
    return listening


def told(home: Home, *, now: datetime = NOW) -> dict[str, Line]:
    return {line.name: line for line in examine(home, now=now)}


def test_a_coordinator_that_serves_is_well(answering: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LEAST_DISK", 0)
    lines = told(answering)
    assert is_well(list(lines.values())), lines
    assert lines["server"].state == lines["database"].state == lines["keys"].state == "ok"
    assert lines["authority"].fact.startswith("valid for 36")
    assert "coordinator.pem, ca.key, server.key" in lines["keys"].fact
    assert lines["clock"].state in ("ok", "attention")


def test_a_coordinator_that_was_just_made_is_told_what_to_start(tmp_path: Path) -> None:
    lines = told(create_home(tmp_path / "new"))
    assert lines["authority"].state == lines["database"].state == "not checked"
    assert lines["server"].state == "problem"
    assert "serve" in lines["server"].remedy
    assert lines["coordinator"].state == "ok"


def test_a_folder_that_is_no_coordinators_is_named(tmp_path: Path) -> None:
    line = told(Home(tmp_path))["coordinator"]
    assert line.state == "problem"
    assert line.fact.startswith("run.no-coordinator")


@pytest.mark.parametrize(
    ("left_days", "state"),
    [(61, "ok"), (59, "attention"), (29, "attention"), (6, "problem"), (-2, "problem")],
)
def test_the_end_of_both_certificates_is_told_before_it_comes(
    home: Home, left_days: int, state: str
) -> None:
    for name, days in (("server certificate", SERVER_DAYS), ("authority", 365 * AUTHORITY_YEARS)):
        now = NOW + timedelta(days=days - left_days, minutes=-1)
        lines = {line.name: line for line in certificate_lines(home, now=now)}
        assert lines[name].state == state
        remedy = "renew-certificate" if name == "server certificate" else "every site"
        assert (remedy in lines[name].remedy) == (state != "ok")


@pytest.mark.parametrize("name", ["keys/coordinator.pem", "deployment/certificates/ca.key"])
def test_a_key_that_others_may_read_is_a_problem(home: Home, name: str) -> None:
    (home.folder / name).chmod(0o640)
    line = told(home)["keys"]
    assert line.state == "problem"
    assert "chmod 600" in line.remedy


@pytest.mark.parametrize(("free", "state"), [(1, "problem"), (3, "attention"), (30, "ok")])
def test_a_disk_that_fills_is_told_before_it_is_full(
    home: Home, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, free * 2**30))
    assert told(home)["disk"].state == state


def test_a_damaged_database_is_told(home: Home) -> None:
    path = Deployment(home.folder).work / "superlink.sqlite"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 60] = bytes(4096 * 57)
    path.write_bytes(content)
    assert told(home)["database"].state == "problem"


def test_a_server_that_shows_a_former_certificate_is_to_be_started_again(answering: Home) -> None:
    folder = Deployment(answering.folder).authority.parent
    ensure_server_certificate(folder, hosts=(*HOSTS, "fl.example"), now=NOW)
    line = told(answering)["server"]
    assert line.state == "attention"
    assert "another certificate than the one on disk" in line.fact


def test_a_server_of_another_federation_or_none_is_a_problem(answering: Home, tmp_path: Path) -> None:
    folder = Deployment(answering.folder).authority.parent
    for name in ("ca.pem", "ca.key", "server.pem", "server.key"):
        (folder / name).unlink()
    ensure_server_certificate(folder, hosts=HOSTS, now=NOW)
    assert "not trusted" in told(answering)["server"].fact
    with doctor_port(answering) as listening:
        listening.close()
        assert "does not answer" in told(answering)["server"].fact


@pytest.mark.parametrize(("state", "said"), [(0, "ok"), (1, "ok"), (5, "attention"), (-1, "attention")])
def test_the_clock_is_as_the_system_says(
    monkeypatch: pytest.MonkeyPatch, state: int, said: str
) -> None:
    library = type("Library", (), {"adjtimex": staticmethod(lambda _: state)})
    monkeypatch.setattr(doctor.ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor._clock().state == said
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    assert doctor._clock().state == "not checked"
