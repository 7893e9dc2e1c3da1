"""A coordinator that serves by its own commands, for years: who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from practice_superlink import Node, Server, connected, serving

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
