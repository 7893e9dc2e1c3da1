"""The local engine against Flower itself: its private names, its wire form, its cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from server.engines.local import LocalGrid

echo = ClientApp()


@echo.train()
def train(message: Message, context: Context) -> Message:
    context.state["seen"] = MetricRecord({"n": 1 + int(context.state.get("seen", {}).get("n", 0))})
    content = RecordDict({"arrays": message.content["arrays"], "seen": context.state["seen"]})
    return Message(content, reply_to=message)


@echo.query("broken")
def broken(message: Message, context: Context) -> Message:
    raise ValueError("Mrs Canary at /data/patients/17")


def grid_of(n_sites: int) -> LocalGrid:
    return LocalGrid(echo, {f"site-{number}": Path(f"/{number}") for number in range(n_sites)})


def message_to(node: int, *, size: int = 3, kind: str = "train") -> Message:
    arrays = ArrayRecord({"w": Array(np.arange(size, dtype="<f4"))})
    return Message(RecordDict({"arrays": arrays}), node, kind, group_id="1")


def test_replies_name_the_message_and_the_node_that_they_answer() -> None:
    grid = grid_of(2)
    nodes = list(grid.get_node_ids())
    names = list(grid.push_messages([message_to(node) for node in nodes]))
    replies = list(grid.pull_messages(names))
    assert [reply.metadata.reply_to_message_id for reply in replies] == names
    assert [reply.metadata.src_node_id for reply in replies] == nodes
    np.testing.assert_array_equal(replies[0].content["arrays"]["w"].numpy(), [0, 1, 2])


def test_a_reply_can_be_pulled_only_once() -> None:
    grid = grid_of(1)
    names = list(grid.push_messages([message_to(2)]))
    assert len(list(grid.pull_messages(names))) == 1
    assert list(grid.pull_messages(names)) == []


def test_a_message_is_frozen_when_it_is_pushed() -> None:
    grid = grid_of(1)
    message = message_to(2)
    names = list(grid.push_messages([message]))
    message.content["arrays"]["w"] = Array(np.zeros(3, "<f4"))
    [reply] = grid.pull_messages(names)
    np.testing.assert_array_equal(reply.content["arrays"]["w"].numpy(), [0, 1, 2])


def test_each_node_keeps_its_own_state() -> None:
    grid = grid_of(2)
    counts = []
    for node in (2, 2, 3):
        [reply] = grid.send_and_receive([message_to(node)])
        counts.append(reply.content["seen"]["n"])
    assert counts == [1, 2, 1]


def test_an_exception_in_a_client_is_an_error_reply_without_its_text() -> None:
    [reply] = grid_of(1).send_and_receive([message_to(2, kind="query.broken")])
    assert reply.has_error()
    assert reply.error.code == 2
    assert "Canary" not in str(reply)


def test_nodes_are_online() -> None:
    assert [node.status for node in grid_of(3).get_nodes()] == ["online"] * 3


def test_each_node_is_told_its_own_folder_and_number() -> None:
    asked: dict[int, str] = {}
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        assert context.run_id == message.metadata.run_id == 7
        asked[context.node_id] = str(context.node_config["site-folder"])
        return Message(RecordDict(), reply_to=message)

    grid = LocalGrid(app, {"aster": Path("/a"), "birch": Path("/b")}, run_id=7)
    assert grid.run.run_id == 7
    nodes = list(grid.get_node_ids())
    assert [node.node_id for node in grid.get_nodes()] == nodes
    assert len(list(grid.send_and_receive([message_to(node) for node in nodes]))) == 2
    assert asked == {nodes[0]: "/a", nodes[1]: "/b"}


def test_a_message_is_made_for_its_node_with_its_kind_group_and_time_to_live() -> None:
    content = RecordDict({"n": MetricRecord({"n": 1})})
    made = grid_of(2).create_message(content, "query.hello", 3, "round-5", ttl=60.0)
    assert made.metadata.dst_node_id == 3
    assert (made.metadata.message_type, made.metadata.group_id) == ("query.hello", "round-5")
    assert made.metadata.ttl == 60.0
    assert made.content["n"]["n"] == 1


def test_no_time_at_all_is_no_reply_and_the_client_is_not_called() -> None:
    called: list[int] = []
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        called.append(context.node_id)
        return Message(RecordDict(), reply_to=message)

    grid = LocalGrid(app, {"aster": Path("/a")})
    assert list(grid.send_and_receive([message_to(2)], timeout=0.0)) == []
    assert called == []
    assert len(list(grid.send_and_receive([message_to(2)], timeout=60.0))) == 1


def test_records_come_off_the_wire_in_the_order_they_were_put_in() -> None:
    seen: list[str] = []
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen.extend(message.content)
        return Message(message.content, reply_to=message)

    content = RecordDict()
    for name in ("z", "weights", "a"):
        content[name] = MetricRecord({"n": 1})
        content[f"{name}-arrays"] = ArrayRecord({"w": Array(np.zeros((2, 3), "<f4"))})
    grid = LocalGrid(app, {"aster": Path("/a")})
    [reply] = grid.send_and_receive([Message(content, 2, "train", group_id="1")])
    assert seen == list(content) == list(reply.content)
    assert reply.content["a-arrays"]["w"].numpy().shape == (2, 3)


def test_a_round_costs_less_than_half_of_the_same_messages_as_protobuf() -> None:
    """1 MB down and up for four sites; minima of interleaved repeats in one run."""
    grid = grid_of(4)
    arrays = ArrayRecord({"w": Array(np.zeros(250_000, "<f4"))})

    def messages() -> list[Message]:
        contents = [RecordDict({"arrays": arrays}) for _ in range(4)]
        return [Message(content, 2, "train", group_id="1") for content in contents]

    def exchange() -> None:
        assert len(list(grid.send_and_receive(messages()))) == 4

    def protobuf() -> None:
        for message in messages() + messages():
            data = message_to_proto(message).SerializeToString()
            message_from_proto(ProtoMessage.FromString(data))

    ours, theirs = zip(*((seconds(exchange), seconds(protobuf)) for _ in range(9)), strict=True)
    assert min(ours) < min(theirs) / 2


def seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
