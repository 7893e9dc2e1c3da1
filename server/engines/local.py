"""The local engine: a Flower Grid that calls the ClientApp in this process.

Every message passes through its wire form, both ways, so nothing mutable can be shared that a network
would copy: records become protobuf bytes; arrays travel as the immutable bytes they serialised to,
which protobuf would copy five times. Clients run one after another when their reply is pulled, which
keeps one reply in memory and makes runs deterministic. Uses Flower's private names ``TaskIdentity``,
``message_to_proto``, ``make_message``, ``Run`` and ``NodeInfo``; a test fails when they change.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity


@dataclass(frozen=True)
class _Wire:
    """A message between two parties: protobuf bytes of its records, serialised arrays, record order."""

    records: bytes
    arrays: Mapping[str, Mapping[str, Array]]
    keys: tuple[str, ...]


class LocalGrid(Grid):
    """Flower's Grid over clients in this process.

    Args:
        client_app: answers every node's messages.
        site_folders: folder by site name; the names are not looked at, who is who comes by hello.
    """

    def __init__(
        self, client_app: ClientApp, site_folders: Mapping[str, Path], *, run_id: int = 1
    ) -> None:
        TaskIdentity.run_id = run_id
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        TaskIdentity.task_id = 1
        self._client_app = client_app
        self._run = Run.create_empty(run_id)
        self._contexts = {
            number: Context(
                run_id=run_id,
                node_id=number,
                node_config={"site-folder": str(folder)},
                state=RecordDict(),
                run_config={},
            )
            for number, folder in enumerate(site_folders.values(), start=2)
        }
        self._waiting: dict[str, _Wire] = {}
        self._n_pushed = 0

    @property
    def run(self) -> Run:
        """The run this grid belongs to."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Set the run this grid belongs to."""
        self._run = run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes."""
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """All nodes, online."""
        return [NodeInfo(node_id=number, status="online") for number in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Keep messages in wire form until their replies are pulled."""
        names = []
        for message in messages:
            self._n_pushed += 1
            name = str(self._n_pushed)
            message.metadata.__dict__["_message_id"] = name
            self._waiting[name] = _to_wire(message)
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Let the clients answer these messages, and return what has arrived."""
        return [
            self._answer(_from_wire(self._waiting.pop(name)))
            for name in message_ids
            if name in self._waiting
        ]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push, then pull until all are answered or the time is over."""
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        names = set(self.push_messages(messages))
        replies: list[Message] = []
        while names and time.monotonic() < end:
            arrived = list(self.pull_messages(names))
            names -= {reply.metadata.reply_to_message_id for reply in arrived}
            replies += arrived
        return replies

    def _answer(self, message: Message) -> Message:
        """A client's reply as it comes off the wire."""
        try:
            reply = self._client_app(message, self._contexts[message.metadata.dst_node_id])
        except Exception:  # noqa: BLE001  # as a SuperNode does: any exception is an error reply
            error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="")
            reply = Message(error, reply_to=message)
        return _from_wire(_to_wire(reply))


def run_local(
    run_folder: Path,
    site_folders: Mapping[str, Path],
    *,
    stage: str = "train",
    client_app: ClientApp | None = None,
) -> None:
    """Play a stage of a run in this process, with the ServerApp that every engine runs.

    Args:
        site_folders: folder by site name.
        stage: name of one of the plan's stages.
        client_app: another ClientApp than the project's own.

    Raises:
        OsteoFedError: what the ServerApp raises.
    """
    if client_app is None:
        from client.app import app

        client_app = app
    play_on(LocalGrid(client_app, site_folders), run_folder, stage=stage)


def play_on(grid: Grid, run_folder: Path, *, stage: str) -> None:
    """Play a stage of a run over a grid in this process.

    Raises:
        OsteoFedError: what the ServerApp raises.
    """
    from server.app import app as server_app

    context = Context(
        run_id=grid.run.run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config={"run-folder": str(run_folder), "stage": stage},
    )
    server_app(grid, context)


def _to_wire(message: Message) -> _Wire:
    if not message.has_content():
        return _Wire(message_to_proto(message).SerializeToString(), {}, ())
    arrays, slim = {}, RecordDict()
    for key, record in message.content.items():
        if isinstance(record, ArrayRecord):
            arrays[key] = {name: _copied(array) for name, array in record.items()}
        else:
            slim[key] = record
    light = make_message(message.metadata, slim)
    return _Wire(message_to_proto(light).SerializeToString(), arrays, tuple(message.content))


def _from_wire(wire: _Wire) -> Message:
    message = message_from_proto(ProtoMessage.FromString(wire.records))
    if not message.has_content():
        return message
    content, slim = RecordDict(), message.content
    for key in wire.keys:
        record = slim[key] if key in slim else _array_record(wire.arrays[key])
        content[key] = record
    message.content = content
    return message


def _array_record(arrays: Mapping[str, Array]) -> ArrayRecord:
    return ArrayRecord({name: _copied(array) for name, array in arrays.items()})


def _copied(array: Array) -> Array:
    """A new Array around the same immutable bytes."""
    return Array(array.dtype, tuple(array.shape), array.stype, array.data)
