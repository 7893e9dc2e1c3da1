"""The hospital's two processes: which has the way out, which the data, and the secret between them."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest

from client.node.supernode import (
    WARN_EVERY_S,
    serve,
    start_again,
    start_supernode,
    warn_daily,
)
from shared.errors import EngineError, ProtocolError
from shared.signing.keys import ensure_node_key


class Started:
    """Processes that are only written down."""

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}

    def start(self, name: str, command: list[str], *, cwd: Path) -> None:
        self.commands[name] = command


@pytest.fixture
def started(tmp_path: Path) -> tuple[dict[str, list[str]], int]:
    processes = Started()
    port = start_supernode(
        processes,  # type: ignore[arg-type]
        tmp_path / "site one",
        superlink="hub:9092",
        root_certificate=Path("/ca.pem"),
        auth_key=Path("/node_key"),
    )
    return processes.commands, port


def value_of(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_the_supernode_goes_out_over_tls_with_its_own_key_and_holds_no_data(
    started: tuple[dict[str, list[str]], int], tmp_path: Path
) -> None:
    command = started[0]["site-supernode"]
    assert value_of(command, "--superlink") == "hub:9092"
    assert value_of(command, "--root-certificates") == "/ca.pem"
    assert value_of(command, "--auth-supernode-private-key") == "/node_key"
    assert value_of(command, "--isolation") == "process"
    assert "--insecure" not in command
    folder = json.dumps(str(tmp_path / "site one"))
    assert value_of(command, "--node-config") == f"site-folder={folder}"
    assert "--health-server-address" not in command


def test_both_meet_on_loopback_with_a_secret_of_the_owners_alone(
    started: tuple[dict[str, list[str]], int], tmp_path: Path
) -> None:
    commands, port = started
    node, executor = commands["site-supernode"], commands["site-executor"]
    assert (value_of(node, "--host"), value_of(node, "--port")) == ("127.0.0.1", str(port))
    assert value_of(executor, "--runtime-api-address") == f"127.0.0.1:{port}"
    secret = Path(value_of(node, "--superexec-auth-secret-file"))
    assert value_of(executor, "--superexec-auth-secret-file") == str(secret)
    assert secret.is_relative_to(tmp_path / "site one" / "keys")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_text()) == 64


def test_the_secret_is_new_at_each_start_and_health_is_asked_where_it_was_named(
    tmp_path: Path,
) -> None:
    secrets = set()
    for _ in range(2):
        processes = Started()
        start_supernode(
            processes,  # type: ignore[arg-type]
            tmp_path,
            superlink="hub:9092",
            root_certificate=Path("/ca.pem"),
            auth_key=Path("/key"),
            name="north",
            health="127.0.0.1:1",
        )
        secrets.add((tmp_path / "keys" / "executor.secret").read_text())
        assert (
            value_of(processes.commands["north-supernode"], "--health-server-address") == "127.0.0.1:1"
        )
    assert len(secrets) == 2


class Refusing:
    """A server that refuses for a while, by a clock that only waiting moves."""

    def __init__(self, *, until_s: float, lasts_s: float = 2.0) -> None:
        self.now = 0.0
        self.until_s = until_s
        self.lasts_s = lasts_s
        self.starts: list[float] = []

    def answer(self) -> None:
        self.starts.append(self.now)
        self.now += self.lasts_s
        if self.now < self.until_s:
            raise EngineError("process-ended", "site-supernode ended by itself with 0")

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def play(self) -> None:
        start_again(self.answer, clock=lambda: self.now, sleep=self.wait)


def test_a_killed_node_that_the_server_still_refuses_is_started_again_until_it_is_let_in() -> None:
    server = Refusing(until_s=50.0)
    server.play()
    assert server.starts == [0.0, 12.0, 24.0, 36.0, 48.0]


def test_a_node_that_was_killed_in_its_second_minute_has_the_whole_time_too() -> None:
    server = Refusing(until_s=200.0)
    ends = iter([110.0])  # the first time it lasts so long; refusals take two seconds

    def answer() -> None:
        server.lasts_s = next(ends, 2.0)
        server.answer()

    start_again(answer, clock=lambda: server.now, sleep=server.wait)
    assert server.now > 200.0
    assert len(server.starts) > 5


def test_a_node_that_is_never_let_in_ends_with_the_reason() -> None:
    server = Refusing(until_s=float("inf"))
    with pytest.raises(EngineError, match="ended by itself") as caught:
        server.play()
    assert caught.value.code == "engine.process-ended"
    assert server.starts[-1] > 100.0
    assert len(server.starts) == 12


def test_a_node_that_dies_after_hours_has_the_whole_time_again() -> None:
    server = Refusing(until_s=10_000.0, lasts_s=3_600.0)
    server.play()
    assert len(server.starts) == 3


def test_a_site_says_its_warnings_at_once_and_every_day(capsys: pytest.CaptureFixture[str]) -> None:
    days, done = [["the certificate ends"], [], ["it ends soon"]], Event()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not days:
            done.set()
            Event().wait()  # the thread ends with this process

    warn_daily(lambda: days.pop(0), sleep=sleep)
    assert done.wait(10.0)
    assert slept == [WARN_EVERY_S] * 3
    told = capsys.readouterr()
    assert (told.out + told.err).split("\n")[:2] == ["the certificate ends", "it ends soon"]


def test_a_site_does_not_connect_with_a_node_key_that_others_may_read(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "node.key"
    ensure_node_key(key)
    key.chmod(0o644)
    with pytest.raises(ProtocolError) as caught:
        serve(tmp_path, superlink="hub:9092", root_certificate=Path("/ca.pem"), auth_key=key)
    assert caught.value.code == "protocol.open-key"
    assert not (tmp_path / "log").exists(), "nothing was started"
