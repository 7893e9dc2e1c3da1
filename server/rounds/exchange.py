"""Messages to sites and back over Flower's Grid, on any engine: hello, push, guarded pull.

Which node is which site comes from a signed ``query.hello``, never from a node's name. A reply is
pulled only while its node is online: Flower turns the pending message of an offline node into an
error and deletes the finished update. A message is pushed again when its node was activated anew, or
when Flower says itself that it was lost, since Flower never redelivers; a site answers a repeated
request with its stored reply. Two kinds of
patience: ``liveness_s`` for a node that is offline, ``deadline_s`` for the whole answer. A node that
was greeted in vain is greeted again in passing: a round begins without its answer; the next has it.
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
from server.run.events import AWAY, BACK
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import Hello, HelloReply, Refusal, Wire, any_from_record, to_record
from shared.errors import OsteoFedError, ProtocolError

HELLO = "query.hello"
ABSENT = "run.site-absent"
DEADLINE_PASSED = "run.deadline-passed"
GREET_AGAIN_S = 15.0  # a hospital may approve the plan while the coordinator waits, or trains
AWAY_AFTER_S = 10.0  # a node that misses so much is told of
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
    is_away: bool = False


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
        self._in_passing: dict[int, tuple[_Pending, str]] = {}  # with the nonce
        self._refused: dict[str, str] = {}
        self._told: set[tuple[int, str]] = set()
        self.countersigned: dict[str, str] = {}
        self.needs_encoder: set[str] = set()

    @property
    def sites(self) -> frozenset[str]:
        """Sites that said hello."""
        return frozenset(self._nodes)

    def reason(self, site: str) -> str:
        """Why a site is not met: the code with which it refused its hello, or that it is absent."""
        return self._refused.get(site, ABSENT)

    def leave(self, site: str, code: str) -> None:
        """Count a site that was met as not met, for this reason, until it answers a fresh hello."""
        node = self._nodes.pop(site)
        self._refused[site] = code
        due = float("-inf")
        self._greeted |= {key: due for key in self._greeted if key[0] == node}

    def meet(self, entries: Iterable[RosterEntry], *, wait_s: float) -> None:
        """Find the nodes of sites by ``query.hello``.

        Args:
            wait_s: how long to wait for sites that have not appeared or have refused; 0 greets only
                nodes that were not greeted since they were started, and the others in passing.
        """
        wanted = {entry.site for entry in entries}
        end = time.monotonic() + wait_s
        self._take_answers_in_passing(wanted)
        while not wanted <= self.sites:
            self._greet(wanted, again_s=GREET_AGAIN_S if wait_s > 0 else float("inf"))
            if wanted <= self.sites or time.monotonic() >= end:
                break
            time.sleep(self._plan.settings.patience.poll_s)
        if not wanted <= self.sites:
            self._greet_in_passing()

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
        end = time.monotonic() + deadline_s
        online = self._online()
        pending = {}
        for site, (node, content) in requests.items():
            pending[site] = _Pending(node, content, [], online.get(node, ""))
            self._push(pending[site], message_type, group, deadline_s)
        while pending:
            has_arrived = False
            online, out = self._online(), left_out()
            left_s = end - time.monotonic()
            for site, waiting in list(pending.items()):
                if site in out:
                    arrival: Arrival | None = Arrival(site, code=out[site])
                elif waiting.node in online:
                    activated_at = online[waiting.node]
                    self._push_again_if_lost(waiting, activated_at, message_type, group, left_s)
                    arrival = self._pull(site, waiting)
                    self._is_there(site, waiting)
                else:
                    arrival = self._is_away(site, waiting)
                if arrival is None and left_s <= 0:
                    arrival = Arrival(site, code=DEADLINE_PASSED)
                if arrival is not None:
                    has_arrived = True
                    del pending[site]
                    yield arrival
            if pending and not has_arrived:
                poll_s = self._plan.settings.patience.poll_s
                time.sleep(min(poll_s, max(0.0, end - time.monotonic())))

    def _is_there(self, site: str, waiting: _Pending) -> None:
        waiting.seen = time.monotonic()
        if waiting.is_away:
            self._log(site, BACK)
            waiting.is_away = False

    def _is_away(self, site: str, waiting: _Pending) -> Arrival | None:
        """Tell once of a site that is away for long; give up one that is for too long."""
        for_s = time.monotonic() - waiting.seen
        if for_s > self._plan.settings.patience.liveness_s:
            return Arrival(site, code="run.site-offline")
        if for_s > AWAY_AFTER_S and not waiting.is_away and site in self._nodes:
            self._log(site, AWAY)
            waiting.is_away = True
        return None

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
                fresh[node] = _nonce(node)
        requests = {str(node): (node, self._hello(nonce)) for node, nonce in fresh.items()}
        replies: dict[int, HelloReply] = {}
        wait_s = self._plan.settings.patience.liveness_s
        for arrival in self._ask_nodes(requests, message_type=HELLO, group="hello", deadline_s=wait_s):
            node = int(arrival.site)
            if reply := self._identify(arrival, fresh[node], node=node):
                replies[node] = reply
        self._meet_those(replies, wanted)

    def _greet_in_passing(self) -> None:
        """Greet again those that were greeted in vain; nobody waits for the answer."""
        now, ttl_s = time.monotonic(), self._plan.settings.patience.round_deadline_s
        for node, activated_at in self._online().items():
            greeted_at = self._greeted.get((node, activated_at), now)
            is_met = node in self._nodes.values() or node in self._in_passing
            if is_met or now - greeted_at <= GREET_AGAIN_S:
                continue
            self._greeted[node, activated_at] = now
            nonce = _nonce(node)
            waiting = _Pending(node, self._hello(nonce), [], activated_at)
            self._push(waiting, HELLO, "hello", ttl_s)
            self._in_passing[node] = waiting, nonce

    def _take_answers_in_passing(self, wanted: set[str]) -> None:
        """Meet those that have answered a greeting in passing; one that is lost is sent again later."""
        online, ttl_s = self._online(), self._plan.settings.patience.round_deadline_s
        replies: dict[int, HelloReply] = {}
        for node, (waiting, nonce) in list(self._in_passing.items()):
            is_there = online.get(node) == waiting.activated_at
            arrival = self._pull(str(node), waiting) if is_there else None
            is_late = time.monotonic() - waiting.seen > ttl_s
            if arrival is not None or not is_there or not waiting.message_ids or is_late:
                del self._in_passing[node]
            if arrival is not None and (reply := self._identify(arrival, nonce, node=node)):
                replies[node] = reply
        self._meet_those(replies, wanted)

    def _hello(self, nonce: str) -> RecordDict:
        return to_record(Hello(plan_sha256=self._plan.sha256, nonce=nonce))

    def _meet_those(self, found: Mapping[int, HelloReply], wanted: set[str]) -> None:
        """Take nodes for the sites that they have signed for, unless two did."""
        claims: dict[str, list[int]] = {}
        for node, reply in found.items():
            if reply.site in wanted:
                claims.setdefault(reply.site, []).append(node)
        for site, nodes in claims.items():
            if len(nodes) > 1 or site in self._nodes:
                self._log(site, "protocol.two-nodes-one-site")
                continue
            self._nodes[site] = nodes[0]
            self._refused.pop(site, None)
            self.countersigned[site] = found[nodes[0]].countersigned
            if not found[nodes[0]].has_encoder:
                self.needs_encoder.add(site)

    def _tell_once(self, node: int, site: str, code: str) -> None:
        """Log why a node is not met, once until it says something else."""
        if (node, code) not in self._told:
            self._told = {each for each in self._told if each[0] != node} | {(node, code)}
            self._log(site, code)

    def _identify(self, arrival: Arrival, nonce: str, *, node: int) -> HelloReply | None:
        """A node's signed answer, or None with the reason logged."""
        reply = arrival.message
        if reply is None:
            self._tell_once(node, "", arrival.code)
            return None
        try:
            if isinstance(reply, Refusal):
                code = refusal_code(reply, self._plan, site=reply.site)
                name = self._known_name(reply.site)
                self._tell_once(node, name, code)
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
            self._tell_once(node, "", error.code)
            return None
        return reply

    def _known_name(self, claimed: str) -> str:
        """A claimed site's name only if it is on the roster: nothing else may reach the log."""
        return claimed if claimed in {entry.site for entry in self._plan.roster} else ""


def _nonce(node: int) -> str:
    return f"{node}:{secrets.token_hex(32)}"


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
