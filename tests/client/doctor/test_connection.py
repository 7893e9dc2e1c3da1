"""What ``doctor`` is told of the coordinator is looked at before anything is asked over the network."""

from __future__ import annotations

import http.client
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.doctor import connection
from client.doctor.connection import (
    Coordinator,
    ending_certificates,
    look_at_connection,
    require_valid_certificate,
)
from server.federation.certificates import ensure_authority
from shared.errors import EngineError
from shared.machine.line import Line

SERVED = Coordinator(superlink="fl.example:9092")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the server is to answer; nothing is sent."""
    given: dict[str, object] = {"status": 200, "server_s": 1000.0, "expires_s": 9e9, "local_s": 1000.0}

    def ask(asked: Coordinator, now: object) -> object:
        if isinstance(given.get("error"), Exception):
            raise given["error"]
        return connection._Answer(**given)

    monkeypatch.setattr(connection, "_ask", ask)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return given


def told(asked: Coordinator = SERVED) -> dict[str, Line]:
    return {line.name: line for line in look_at_connection(asked)}


def test_a_server_that_tells_no_time_leaves_the_clock_unchecked(answered: dict[str, object]) -> None:
    answered["server_s"] = None
    lines = told()
    assert lines["clock"].state == "not checked"
    assert lines["coordinator"].state == lines["server certificate"].state == "ok"


@pytest.mark.parametrize(
    ("ahead_s", "state", "fact"),
    [
        (0.0, "ok", "agrees with the coordinator"),
        (1.9, "ok", "agrees with the coordinator"),
        (2.0, "ok", "2 s ahead of the coordinator"),
        (2.9, "ok", "3 s ahead of the coordinator"),
        (3.0, "attention", "3 s ahead of the coordinator"),
        (4.9, "attention", "5 s ahead of the coordinator"),
        (5.0, "problem", "5 s ahead of the coordinator"),
        (-59.0, "ok", "59 s behind the coordinator"),
        (-60.0, "attention", "60 s behind the coordinator"),
        (-304.0, "attention", "304 s behind the coordinator"),
        (-305.0, "problem", "305 s behind the coordinator"),
    ],
)
def test_a_clock_is_judged_by_what_flower_forgives(
    answered: dict[str, object], ahead_s: float, state: str, fact: str
) -> None:
    answered["local_s"] = 1000.0 + ahead_s
    line = told()["clock"]
    assert (line.state, line.fact) == (state, fact)


def test_a_certificates_days_are_counted_by_this_machines_clock(answered: dict[str, object]) -> None:
    answered["expires_s"] = 1000.0 + 10 * 86400.0
    line = told()["server certificate"]
    assert (line.state, line.fact) == ("attention", "valid for 10 days")
    answered["expires_s"] = 1000.0 - 10 * 86400.0
    line = told()["server certificate"]
    assert (line.state, line.fact) == ("problem", "expired 10 days ago")


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (ssl.SSLError("record layer"), "TLS failed (SSLError)"),
        (ConnectionRefusedError(), "no answer (ConnectionRefusedError)"),
        (http.client.BadStatusLine("x"), "no answer (BadStatusLine)"),
    ],
)
def test_what_is_no_answer_is_told_from_what_is_no_tls(
    answered: dict[str, object], error: Exception, fact: str
) -> None:
    answered["error"] = error
    lines = told()
    assert (lines["coordinator"].state, lines["coordinator"].fact) == (
        "problem",
        f"fl.example:9092: {fact}",
    )
    assert "clock" not in lines
    assert "server certificate" not in lines


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (10, "check this machine's date"),
        (62, "use the name that the certificate is for"),
        (64, "use the name that the certificate is for"),
        (20, "do not go on"),
    ],
)
def test_why_a_certificate_is_not_trusted_decides_what_to_do(
    answered: dict[str, object], code: int, remedy: str
) -> None:
    error = ssl.SSLCertVerificationError("no")
    error.verify_code, error.verify_message = code, "so it is"
    answered["error"] = error
    lines = told()
    assert lines["coordinator"].state == "problem"
    assert lines["coordinator"].fact.endswith("not trusted: so it is")
    assert lines["coordinator"].remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://proxy.hospital", "proxy.hospital:80"),
        ("proxy.hospital:3128", "proxy.hospital:3128"),
        ("http://a:b@proxy.hospital:8080", "proxy.hospital:8080"),
    ],
)
def test_a_proxy_is_taken_with_or_without_its_scheme_and_port(
    answered: dict[str, object], monkeypatch: pytest.MonkeyPatch, proxy: str, shown: str
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    assert told()["proxy"].fact == f"the coordinator is reached through {shown}"
    monkeypatch.setenv("no_proxy", "fl.example")
    assert told()["proxy"].state == "ok"


def lines_for(superlink: str, root_certificate: Path | None = None) -> dict[str, Line]:
    lines = look_at_connection(Coordinator(superlink=superlink, root_certificate=root_certificate))
    named = {line.name: line for line in lines}
    assert len(named) == len(lines)
    return named


@pytest.mark.parametrize(
    "address",
    [
        "host", "host:", "host:notaport", "host:0", "host:65536", "host:-1",
        ":9092", "[::1:9092", "https://host:9092", "host:9092/x", "a:b:c",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_one_problem_with_what_it_must_be(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "")
    lines = lines_for(address)
    assert [name for name, line in lines.items() if line.state == "problem"] == ["coordinator"]
    line = lines["coordinator"]
    assert line.fact == f"its address must be host:port, with a port from 1 to 65535, not {address}"
    assert "--superlink" in line.remedy


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_an_address_that_is_one_is_asked(address: str) -> None:
    assert f"{address}: no answer" in lines_for(address)["coordinator"].fact


def test_without_the_authoritys_file_the_coordinator_is_not_asked_and_no_firewall_blamed(
    tmp_path: Path,
) -> None:
    lines = lines_for("127.0.0.1:1", tmp_path / "ca.pem")
    assert lines["root certificate"].state == "problem"
    assert lines["coordinator"].state == "not checked"
    assert "ca.pem" in lines["coordinator"].fact
    assert "firewall" not in lines["coordinator"].remedy


def test_of_two_authorities_in_a_file_the_one_that_ends_first_is_warned_of(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    old = ensure_authority(tmp_path / "old", now=now - timedelta(days=3650 - 20))
    new = ensure_authority(tmp_path / "new", now=now)
    both = tmp_path / "ca.pem"
    both.write_bytes(new.read_bytes() + old.read_bytes())
    lines = look_at_connection(Coordinator(superlink="", root_certificate=both))
    [line] = [line for line in lines if line.name == "root certificate"]
    assert line.state == "attention"
    assert line.fact in ("valid for 19 days", "valid for 20 days")


def of_tls(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("no")
    error.verify_code, error.verify_message = code, "no"
    return error


@pytest.mark.parametrize("error", [OSError("away"), of_tls(62), http.client.BadStatusLine("x"), None])
def test_a_server_that_is_away_or_wrong_otherwise_is_left_to_flower(
    answered: dict[str, object], error: Exception | None
) -> None:
    if error:
        answered["error"] = error
    require_valid_certificate(SERVED)


def test_a_site_does_not_connect_under_a_certificate_that_has_ended_and_says_so(
    answered: dict[str, object],
) -> None:
    answered["error"] = of_tls(10)
    with pytest.raises(EngineError, match=r"the certificate of fl\.example:9092, or") as caught:
        require_valid_certificate(SERVED)
    assert caught.value.code == "engine.certificate-expired"


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (100, []),
        (59, ["valid for 59 days; within 30 days, "]),
        (29, ["valid for 29 days; "]),
        (6, ["valid for 6 days; "]),
    ],
)
def test_a_site_that_stays_connected_is_warned_of_the_servers_certificate(
    answered: dict[str, object], days: int, said: list[str]
) -> None:
    answered["expires_s"] = 1000.0 + days * 86400.0
    found = ending_certificates(SERVED)
    assert len(found) == len(said)
    for line, begins in zip(found, said, strict=True):
        assert line.startswith(f"server certificate: {begins}")
        assert "the coordinator must renew it" in line


def test_a_site_whose_server_is_away_is_warned_of_nothing_that_it_cannot_see(
    answered: dict[str, object],
) -> None:
    answered["error"] = ConnectionRefusedError()
    assert ending_certificates(SERVED) == []
