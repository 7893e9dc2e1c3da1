"""A coordinator that serves by its own commands, for years: who is let in, and who is not."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.control_pb2 import ListRunsRequest, RegisterNodeRequest, StartRunRequest
from flwr.proto.fleet_pb2 import RegisterNodeFleetRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from practice_health import NOT_SERVING, SERVING, check
from practice_superlink import Node, Server, connected, serving, started

from server.engines.gated import HEADERS_S, MOST_BYTES
from server.federation.certificates import ensure_authority
from shared.machine.processes import free_port

pytestmark = [pytest.mark.deployed, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("serving")) as running:
        yield running


def test_a_site_is_added_and_one_revoked_while_the_server_and_another_site_run_on(
    server: Server,
) -> None:
    aster, birch = server.enrol("aster"), server.enrol("birch")
    one, two = server.node_id("aster"), server.node_id("birch")
    with ExitStack() as stack:
        # two sites are connected
        process = stack.enter_context(connected(server, "aster"))
        stack.enter_context(connected(server, "birch"))
        server.await_nodes(**{one: "online", two: "online"})
        key, other = Node.of(birch), Node.of(aster)
        assert key.pull(server, int(two)).status_code == 200
        # one of them is revoked: its next call is refused, and it is not let in again
        told = server.type("revoke", "birch")
        assert told["server"] == "the one that runs has followed"
        assert key.pull(server, int(two)).status_code == 401
        assert key.activate(server).status_code >= 400
        # a third one comes, and the first has noticed nothing
        assert Node.of(server.enrol("cedar")).activated(server)
        assert other.pull(server, int(one)).status_code == 200
        server.await_nodes(**{one: "online", two: "unregistered"})
        assert (process.poll(), server.process.poll()) == (None, None)


def test_health_is_serving_while_the_routes_answer_and_not_when_the_superlink_stands_still(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as server:
        assert _wait_for(server.health, SERVING), "its own routes, and the sites' to strangers"
        superlink = _superlink_of(server)
        os.kill(superlink, signal.SIGSTOP)
        try:
            assert _wait_for(server.health, NOT_SERVING)
        finally:
            os.kill(superlink, signal.SIGCONT)
        assert _wait_for(server.health, SERVING)


def _wait_for(address: str, status: int) -> bool:
    """Whether a health check answers so within a minute."""
    end = time.monotonic() + 60
    while check(address) != status:
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def _superlink_of(server: Server) -> int:
    """The number of the process that ``serve`` started."""
    [found] = _children(server, "server.engines.gated")
    return found


def _children(server: Server, words: str) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children.split()}
    return [pid for pid, command in commands.items() if words in command]


def test_a_server_that_is_killed_leaves_nothing_behind_and_its_home_is_served_again(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as server:
        secret = server.deployment.work / "executor.secret"
        words = ("serve", "--home", str(server.home), "--health", "", "--port")
        # a second one is refused, on this port or another, and touches nothing
        before = secret.read_bytes()
        for port in (server.port, free_port()):
            with started("server", *words, str(port)) as second:
                assert second.wait(90) != 0
                assert second.stderr is not None
                told = second.stderr.read().decode()
                assert "engine.being-served" in told
                assert f"process {server.process.pid} on" in told
        assert secret.read_bytes() == before
        # its executor is started again, and it is as it was
        [executor] = _children(server, "flower-superexec")
        os.kill(executor, signal.SIGKILL)
        _until(lambda: _children(server, "flower-superexec") not in ([], [executor]))
        assert _wait_for(server.health, SERVING)
        # it is killed alone
        left = [_superlink_of(server), *_children(server, "flower-superexec")]
        server.process.kill()
        server.process.wait()
        _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
        with socket.create_server(("127.0.0.1", server.port)):  # of somebody else
            with started("server", *words, str(server.port)) as second:
                assert second.wait(90) != 0
                assert second.stderr is not None
                assert "engine.port-taken" in second.stderr.read().decode()
            assert secret.read_bytes() == before
        with started("server", *words, str(server.port)) as again:
            _until(server.deployment.is_serving)
            time.sleep(5.0)
            assert again.poll() is None
            assert secret.read_bytes() != before


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.2)


@dataclass(frozen=True)
class Ground:
    """What every row may use: the server, a site that is let in, and somebody who is not."""

    server: Server
    site: Node
    site_id: int
    stranger: Node
    folder: Path

    def post(self, path: str, body: bytes = b"", **headers: str) -> int:
        """The status of a request from this machine."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.post(path, body, headers=named).status_code

    def from_elsewhere(self, path: str, body: bytes = b"") -> int:
        """The status of a request that a proxy on this machine has from another one."""
        return self.post(path, body, x_forwarded_for="203.0.113.9")

    def pull(self, headers: dict[str, str]) -> int:
        """The status of a site's question for messages under other headers."""
        request = self.site.question(self.site_id).SerializeToString()
        return self.post("/v1/fleet/pull-messages", request, **headers)


@pytest.fixture(scope="module")
def ground(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    site = Node.of(server.enrol("dune"))
    stranger = Node(ec.generate_private_key(ec.SECP384R1()))
    folder = tmp_path_factory.mktemp("stranger")
    return Ground(server, site, site.activated(server), stranger, folder)


def _wrong_authority(ground: Ground) -> int:
    other = ensure_authority(ground.folder, now=datetime.now(UTC))
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        ground.server.post("/health", authority=other)
    return 0


def _slow_clients(ground: Ground) -> int:
    """Two hundred that begin a request and go on with it no more, and one that is quick."""
    context = ssl.create_default_context(cafile=str(ground.server.deployment.authority))
    with ExitStack() as stack:
        for _ in range(200):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", ground.server.port)))
            slow = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            slow.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        return ground.site.pull(ground.server, ground.site_id).status_code


def _half_headers(ground: Ground) -> int:
    """Twenty that send half a header, and are closed while an honest one is served."""
    context = ssl.create_default_context(cafile=str(ground.server.deployment.authority))
    with ExitStack() as stack:
        slow = []
        for _ in range(20):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", ground.server.port)))
            slow.append(stack.enter_context(context.wrap_socket(plain, server_hostname="localhost")))
            slow[-1].sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: loc")
        status = ground.site.pull(ground.server, ground.site_id).status_code
        for each in slow:
            each.settimeout(HEADERS_S + 10)
            with suppress(ConnectionResetError, ssl.SSLEOFError):
                assert each.recv(1) == b""
        return status


def _altered(headers: dict[str, str], name: str) -> dict[str, str]:
    return headers | {name: headers[name][:-6] + "A" + headers[name][-5:]}


START = StartRunRequest().SerializeToString()
REGISTER = RegisterNodeRequest(public_key=b"anybody").SerializeToString()
TASK = AcquireTaskRequest().SerializeToString()

# what is tried -> the request's status, the status that it must have, and what it is closed by
ROWS: dict[str, tuple[Callable[[Ground], int], int, str]] = {
    "a run started from another machine": (
        lambda g: g.from_elsewhere("/v1/control/start-run", START), 404, "the gate"
    ),
    "a node registered from another machine": (
        lambda g: g.from_elsewhere("/v1/control/register-node", REGISTER), 404, "the gate"
    ),
    "a task taken from another machine": (
        lambda g: g.from_elsewhere("/v1/runtime/acquire-task", TASK), 404, "the gate"
    ),
    "a path that leads out of the sites' interface": (
        lambda g: g.from_elsewhere("/v1/fleet/%2e%2e/control/start-run", START), 404, "no such path"
    ),
    "the list of all paths": (lambda g: g.from_elsewhere("/openapi.json"), 404, "the gate"),
    "a task taken on this machine without the secret": (
        lambda g: g.post("/v1/runtime/acquire-task", TASK), 401, "the executor's secret"
    ),
    "runs listed on this machine by nobody": (
        lambda g: g.post("/v1/control/list-runs", ListRunsRequest().SerializeToString()),
        200,
        "Flower asks nobody here: that no one else has a shell on the coordinator's machine",
    ),
    "a node that registers itself": (
        lambda g: g.stranger.send(
            g.server, "register-node", RegisterNodeFleetRequest(public_key=g.stranger.public)
        ).status_code,
        412,
        "node authentication",
    ),
    "a node that was never enrolled": (
        lambda g: g.stranger.activate(g.server).status_code, 412, "node authentication"
    ),
    "a site's number under another key": (
        lambda g: g.stranger.pull(g.server, g.site_id).status_code, 401, "node authentication"
    ),
    "a question without any signature": (lambda g: g.pull({}), 401, "node authentication"),
    "a signature of long ago": (
        lambda g: g.pull(g.site.signed(ago_s=400.0)), 401, "the time that is signed"
    ),
    "a signature of the future": (
        lambda g: g.pull(g.site.signed(ago_s=-60.0)), 401, "the time that is signed"
    ),
    "a signature of a minute ago": (
        lambda g: g.pull(g.site.signed(ago_s=60.0)),
        200,
        "Flower signs the time and no content: TLS, under which nobody reads it on its way",
    ),
    "an altered signature": (
        lambda g: g.pull(_altered(g.site.signed(), "flwr-signature")), 401, "node authentication"
    ),
    "an altered key": (
        lambda g: g.pull(_altered(g.site.signed(), "flwr-public-key")), 401, "node authentication"
    ),
    "a server under another authority": (_wrong_authority, 0, "TLS at the site"),
    "a body larger than any of Flower's": (
        lambda g: g.post("/v1/fleet/push-object", os.urandom(1) * (MOST_BYTES + 1)), 413, "the gate"
    ),
    "twenty clients that send half a header": (_half_headers, 200, "the door, after 15 s"),
    "two hundred clients that stand still": (_slow_clients, 200, "they hold nothing but themselves"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_who_has_no_business_here_is_refused_and_the_service_stays_up(ground: Ground, row: str) -> None:
    attempt, status, closed_by = ROWS[row]
    assert attempt(ground) == status, closed_by
    assert ground.site.pull(ground.server, ground.site_id).status_code == 200
    assert ground.server.process.poll() is None


def test_a_renewed_certificate_is_shown_without_a_stop_of_the_server_or_a_word_to_a_site(
    ground: Ground,
) -> None:
    server = ground.server
    before = ssl.get_server_certificate(("127.0.0.1", server.port))
    server.type("renew-certificate")
    start = time.monotonic()
    gone_at: float | None = None
    while True:
        try:
            if ssl.get_server_certificate(("127.0.0.1", server.port)) != before:
                break
        except OSError:
            gone_at = gone_at or time.monotonic()
        assert time.monotonic() - start < 90, "the former one is shown still"
        time.sleep(0.2)
    away_s = time.monotonic() - (gone_at or start)
    assert away_s < 60, "a run ends where the server is away for a minute"
    assert ground.site.pull(server, ground.site_id).status_code == 200
    time.sleep(5.0)  # an executor that cannot do without it has ended by now
    assert server.process.poll() is None
