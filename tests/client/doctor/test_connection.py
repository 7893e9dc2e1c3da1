"""What ``doctor`` is told of the coordinator is looked at before anything is asked over the network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.doctor.connection import Coordinator, look_at_connection
from client.doctor.line import Line
from server.federation.certificates import ensure_authority


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
