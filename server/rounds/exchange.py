"""Messages to sites and back over Flower's Grid, on any engine: hello, push, guarded pull.

Which node is which site comes from a signed ``query.hello``, never from a node's name. A reply is
pulled only while its node is online: Flower turns the pending message of an offline node into an
error and deletes the finished update. A message is pushed again when its node was activated anew, or
when Flower says itself that it was lost, since Flower never redelivers; a site answers a repeated
request with its stored reply. Two kinds of
patience: ``liveness_s`` for a node that is offline, ``deadline_s`` for the whole answer.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from server.rounds.replies import refusal_code, require_plan, require_signature
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Hello, HelloReply, Refusal, Wire, any_from_record, to_record
from shared.errors import OsteoFedError, ProtocolError

HELLO = "query.hello"
ABSENT = "run.site-absent"
GREET_AGAIN_S = 15.0  # a hospital may approve the plan while the coordinator waits
# What Flower says of a message that no site has answered: its node is gone, its executor has died.
LOST = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED)
MOST_LOST = 3  # of one site in one round; a site repeats an attempt a few times only


@dataclass(frozen=True)
class Arrival:
    """What came from a site: a message, or the code of why there is none.

    ``has_answered``: the site did send something, even if it is no message of the protocol.
    """

    site: str
    message: Wire | None = None
    code: str = ""
    has_answered: bool = False


@dataclass
class _Pending:
    """A message on its way to one node."""

    node: int
    content: RecordDict
    message_ids: list[str]
    activated_at: str
    seen: float = field(default_factory=time.monotonic)
    n_lost: int = 0


class Exchange:
    """The sites of a plan as they can be reached over one grid.

    Args:
        log: receives (site, code) for what is neither an answer nor a missing answer.
    """

    def __init__(self, grid: Grid, plan: Plan, *, log: Callable[[str, str], None]) -> None:
        self._grid = grid
        self._plan = plan
        self._log = log
        self._nodes: dict[str, int] = {}
        self._greeted: dict[tuple[int, str], float] = {}
        self._refused: dict[str, str] = {}
        self.countersigned: dict[str, str] = {}
        self.needs_encoder: set[str] = set()

    @property
    def sites(self) -> frozenset[str]:
        """Sites that said hello."""
        return frozenset(self._nodes)

    def reason(self, site: str) -> str:
        """Why a site was not met: the code with which it refused its hello, or that it is absent."""
        return self._refused.get(site, ABSENT)

    def meet(self, entries: Iterable[RosterEntry], *, wait_s: float) -> None:
        """Find the nodes of sites by ``query.hello``.

        Args:
            wait_s: how long to wait for sites that have not appeared or have refused; 0 greets only
                nodes that were not greeted since they were started.
        """
        wanted = {entry.site for entry in entries}
        end = time.monotonic() + wait_s
        while not wanted <= self.sites:
            self._greet(wanted, again_s=GREET_AGAIN_S if wait_s > 0 else float("inf"))
            if wanted <= self.sites or time.monotonic() >= end:
                return
            time.sleep(self._plan.settings.patience.poll_s)

    def ask(
        self,
        requests: Mapping[str, Wire],
        *,
        message_type: str,
        group: str,
        deadline_s: float | None = None,
        left_out: Callable[[], Mapping[str, str]] = dict,
    ) -> Iterator[Arrival]:
        """Send each site its request and yield what arrives, one arrival per site.

        Requests of one call carry equal arrays, which are serialised and held once.
        One reply is held at a time. Replies after the first of a site are logged as
        ``protocol.duplicate`` and dropped.

        Args:
            left_out: sites that are waited for no more, and why; asked while it waits.
        """
        known = {site: request for site, request in requests.items() if site in self._nodes}
        for site in requests:
            if site not in known:
                yield Arrival(site, code=self.reason(site))
        yield from self._ask_nodes(
            {site: (self._nodes[site], record) for site, record in _records(known).items()},
            message_type=message_type,
            group=group,
            deadline_s=deadline_s or self._plan.settings.patience.round_deadline_s,
            left_out=left_out,
        )

    def _ask_nodes(
        self,
        requests: Mapping[str, tuple[int, RecordDict]],
        *,
        message_type: str,
        group: str,
        deadline_s: float,
        left_out: Callable[[], Mapping[str, str]] = dict,
    ) -> Iterator[Arrival]:
        patience = self._plan.settings.patience
        end = time.monotonic() + deadline_s
        online = self._online()
        pending = {}
        for site, (node, content) in requests.items():
            pending[site] = _Pending(node, content, [], online.get(node, ""))
            self._push(pending[site], message_type, group, deadline_s)
        while pending:
            has_arrived = False
            online, out = self._online(), left_out()
            now = time.monotonic()
            for site, waiting in list(pending.items()):
                arrival: Arrival | None = None
                if site in out:
                    arrival = Arrival(site, code=out[site])
                elif waiting.node in online:
                    waiting.seen = now
                    self._push_again_if_lost(
                        waiting, online[waiting.node], message_type, group, end - now
                    )
                    arrival = self._pull(site, waiting)
                elif now - waiting.seen > patience.liveness_s:
                    arrival = Arrival(site, code="run.site-offline")
                if arrival is None and now >= end:
                    arrival = Arrival(site, code="run.deadline-passed")
                if arrival is not None:
                    has_arrived = True
                    del pending[site]
                    yield arrival
            if pending and not has_arrived:
                time.sleep(min(patience.poll_s, max(0.0, end - time.monotonic())))

    def _push(self, waiting: _Pending, message_type: str, group: str, ttl_s: float) -> None:
        message = Message(
            waiting.content, waiting.node, message_type, ttl=max(ttl_s, 1.0), group_id=group
        )
        waiting.message_ids += [name for name in self._grid.push_messages([message]) if name]

    def _push_again_if_lost(
        self, waiting: _Pending, activated_at: str, message_type: str, group: str, ttl_s: float
    ) -> None:
        if activated_at != waiting.activated_at or not waiting.message_ids:
            waiting.activated_at = activated_at
            self._push(waiting, message_type, group, ttl_s)

    def _pull(self, site: str, waiting: _Pending) -> Arrival | None:
        arrival = None
        for message in self._grid.pull_messages(waiting.message_ids):
            if arrival is not None:
                self._log(site, "protocol.duplicate")
            elif message.has_error():
                if message.error.code in LOST and waiting.n_lost < MOST_LOST:
                    waiting.n_lost += 1
                    waiting.message_ids = []  # it is pushed again once its node is there
                else:
                    arrival = Arrival(site, code=f"engine.flower-error-{message.error.code}")
            else:
                arrival = _arrival(site, message.content)
        return arrival

    def _online(self) -> dict[int, str]:
        """Nodes that are connected, and when each was last activated."""
        return {
            node.node_id: node.last_activated_at
            for node in self._grid.get_nodes()
            if node.status in ("", "online")
        }

    def _greet(self, wanted: set[str], *, again_s: float) -> None:
        now = time.monotonic()
        fresh = {}
        for node, activated_at in self._online().items():
            greeted_at = self._greeted.get((node, activated_at))
            is_due = greeted_at is None or now - greeted_at > again_s
            if is_due and node not in self._nodes.values():
                self._greeted[node, activated_at] = now
                fresh[node] = f"{node}:{secrets.token_hex(32)}"
        claims: dict[str, list[HelloReply]] = {}
        nodes: dict[str, int] = {}
        requests = {
            str(node): (node, to_record(Hello(plan_sha256=self._plan.sha256, nonce=nonce)))
            for node, nonce in fresh.items()
        }
        wait_s = self._plan.settings.patience.liveness_s
        for arrival in self._ask_nodes(requests, message_type=HELLO, group="hello", deadline_s=wait_s):
            node = int(arrival.site)
            reply = self._identify(arrival, fresh[node])
            if reply is not None and reply.site in wanted:
                claims.setdefault(reply.site, []).append(reply)
                nodes[reply.site] = node
        for site, replies in claims.items():
            if len(replies) > 1 or site in self._nodes:
                self._log(site, "protocol.two-nodes-one-site")
                continue
            self._nodes[site] = nodes[site]
            self.countersigned[site] = replies[0].countersigned
            if not replies[0].has_encoder:
                self.needs_encoder.add(site)

    def _identify(self, arrival: Arrival, nonce: str) -> HelloReply | None:
        """A node's signed answer, or None with the reason logged."""
        reply = arrival.message
        if reply is None:
            self._log("", arrival.code)
            return None
        try:
            if isinstance(reply, Refusal):
                code = refusal_code(reply, self._plan, site=reply.site)
                name = self._known_name(reply.site)
                self._log(name, code)
                self._refused |= {name: code} if name else {}
                return None
            if not isinstance(reply, HelloReply):
                raise ProtocolError("wrong-message", "a hello must be answered with a hello")
            require_plan(reply, self._plan)
            if reply.nonce != nonce:
                raise ProtocolError("wrong-nonce", "the hello answers another question")
            self._plan.entry(reply.site)
            require_signature(reply, self._plan, reply.site)
            if reply.code_sha256 != self._plan.code_sha256:
                raise ProtocolError("wrong-code", f"{reply.site} runs other code than the plan's")
        except OsteoFedError as error:
            self._log("", error.code)
            return None
        return reply

    def _known_name(self, claimed: str) -> str:
        """A claimed site's name only if it is on the roster: nothing else may reach the log."""
        return claimed if claimed in {entry.site for entry in self._plan.roster} else ""


def _records(requests: Mapping[str, Wire]) -> dict[str, RecordDict]:
    """Records by site; equal messages and equal arrays are serialised once."""
    records: dict[str, RecordDict] = {}
    previous: tuple[Wire, RecordDict] | None = None
    with_arrays: RecordDict | None = None
    for site, request in requests.items():
        if previous is None or previous[0] is not request:
            previous = request, to_record(request, arrays_of=with_arrays)
        records[site] = previous[1]
        if "arrays" in records[site]:
            with_arrays = records[site]
    return records


def _arrival(site: str, content: RecordDict) -> Arrival:
    try:
        return Arrival(site, message=any_from_record(content), has_answered=True)
    except OsteoFedError as error:
        return Arrival(site, code=error.code, has_answered=True)
