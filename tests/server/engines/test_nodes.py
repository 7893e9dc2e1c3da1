"""Who is let in by the SuperLink, over Flower's answers as they were seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.engines.nodes import Nodes
from shared.errors import EngineError


class Flower:
    """Flower's answers to what is asked of its nodes, and what was asked."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.names: list[str] = []
        self.keys: list[str] = []
        self.breaks_off = False
        self.unheard: list[BaseException] = []

    def __call__(self, command: str, verb: str, *arguments: str) -> dict[str, object]:
        assert command == "supernode"
        if verb == "register":
            key = Path(arguments[0]).read_text()
            if key in self.keys:
                raise EngineError("flower-refused", "public key already in use")
            self.keys.append(key)
            node = f"{len(self.status) + 1}"
            self.status[node] = "registered"
            self.names.append(arguments[-1])
            if self.unheard:
                raise self.unheard.pop()
            return {"node-id": int(node)}
        if verb == "list":
            return {"nodes": [{"node-id": n, "status": s} for n, s in self.status.items()]}
        if self.breaks_off:
            raise KeyboardInterrupt
        assert self.status[arguments[0]] == "registered", "Flower refuses it a second time"
        self.status[arguments[0]] = "unregistered"
        return {}


@pytest.fixture
def flower() -> Flower:
    return Flower()


@pytest.fixture
def nodes(tmp_path: Path, flower: Flower) -> Nodes:
    return Nodes(tmp_path, flower)


def test_a_node_key_is_registered_once_and_a_new_one_of_the_site_takes_its_place(
    nodes: Nodes, flower: Flower
) -> None:
    for key in ("first", "first\n", "second", "second"):
        nodes.register("aster", key)
    nodes.register("birch", "third")
    assert flower.names == ["aster", "aster", "birch"]
    assert flower.keys == ["first\n", "second\n", "third\n"]
    assert flower.status == {"1": "unregistered", "2": "registered", "3": "registered"}
    assert nodes.let_in == {"aster": "second", "birch": "third"}


def test_a_former_node_key_is_locked_out_even_where_that_was_cut_off(
    nodes: Nodes, flower: Flower
) -> None:
    nodes.register("aster", "first")
    flower.breaks_off = True
    with pytest.raises(KeyboardInterrupt):
        nodes.register("aster", "second")
    assert nodes.let_in == {"aster": ""}, "the former one still is let in"
    flower.breaks_off = False
    nodes.register("aster", "second")
    assert flower.status == {"1": "unregistered", "2": "registered"}
    # Flower has done it, and it was not remembered
    memory = nodes.folder / "registered.json"
    known = json.loads(memory.read_text())
    memory.write_text(json.dumps({"aster": known["aster"] | {"former": ["1"]}}))
    nodes.register("aster", "second")
    assert json.loads(memory.read_text()) == known


def test_a_node_that_an_earlier_release_registered_is_kept_and_not_replaced_in_silence(
    nodes: Nodes, flower: Flower
) -> None:
    (nodes.folder / "registered.json").write_text(json.dumps({"aster": "first"}))
    nodes.register("aster", "first")
    assert flower.names == []
    with pytest.raises(EngineError, match="the former node key of aster cannot be taken back"):
        nodes.register("aster", "second")
    with pytest.raises(EngineError, match="the former node key of aster cannot be taken back"):
        nodes.admit({})
    assert flower.names == []


def test_who_is_enrolled_no_more_is_shut_out_and_nobody_else_is_touched(
    nodes: Nodes, flower: Flower
) -> None:
    nodes.admit({"aster": "first", "birch": "second"})
    nodes.admit({"birch": "second"})
    assert flower.status == {"1": "unregistered", "2": "registered"}
    nodes.admit({"birch": "second", "cedar": "third"})
    assert flower.status == {"1": "unregistered", "2": "registered", "3": "registered"}
    assert flower.names == ["aster", "birch", "cedar"]
    assert nodes.let_in == {"birch": "second", "cedar": "third"}


def test_shutting_out_that_was_cut_off_is_done_the_next_time(nodes: Nodes, flower: Flower) -> None:
    nodes.admit({"aster": "first"})
    flower.breaks_off = True
    with pytest.raises(KeyboardInterrupt):
        nodes.admit({})
    assert nodes.let_in == {"aster": ""}
    flower.breaks_off = False
    nodes.admit({})
    assert flower.status == {"1": "unregistered"}
    assert nodes.let_in == {}


def test_a_site_that_was_shut_out_comes_back_under_a_new_key_only(nodes: Nodes, flower: Flower) -> None:
    nodes.admit({"aster": "first"})
    nodes.admit({})
    with pytest.raises(EngineError, match="already in use"):
        nodes.admit({"aster": "first"})
    nodes.admit({"aster": "second"})
    assert flower.status == {"1": "unregistered", "2": "registered"}


def test_a_site_that_flower_refuses_keeps_no_other_outside_and_lets_none_stay(
    nodes: Nodes, flower: Flower
) -> None:
    nodes.admit({"ash": "first", "elm": "second"})
    with pytest.raises(EngineError, match="already in use"):
        nodes.admit({"birch": "first", "cedar": "third", "elm": "second"})
    assert flower.status == {"1": "unregistered", "2": "registered", "3": "registered"}
    assert nodes.let_in == {"cedar": "third", "elm": "second"}


CUT = KeyboardInterrupt()
TOO_LONG = EngineError("command-timeout", "flwr took more than 180 s")


def try_register(nodes: Nodes, site: str, key: str) -> None:
    try:
        nodes.register(site, key)
    except KeyboardInterrupt:
        assert nodes.let_in[site] == "", "not settled"


@pytest.mark.parametrize("unheard", [CUT, TOO_LONG])
def test_a_site_whose_registration_was_done_and_not_heard_is_let_in_by_the_node_that_came(
    nodes: Nodes, flower: Flower, unheard: BaseException
) -> None:
    flower.status["by hand"] = "registered"
    nodes.register("aster", "first")
    flower.unheard = [unheard]
    try_register(nodes, "birch", "second")
    nodes.admit({"aster": "first", "birch": "second"})
    assert nodes.let_in == {"aster": "first", "birch": "second"}
    nodes.admit({"aster": "first", "birch": "third"})
    assert flower.status == {
        "by hand": "registered", "2": "registered", "3": "unregistered", "4": "registered"
    }  # fmt: skip


def test_a_registration_that_was_not_heard_is_taken_back_where_it_is_wanted_no_more(
    nodes: Nodes, flower: Flower
) -> None:
    nodes.register("aster", "first")
    for wanted in ({"aster": "first"}, {"aster": "third"}, {}):
        flower.unheard = [CUT]
        try_register(nodes, "aster", f"unheard before {wanted}")
        nodes.admit(wanted)
        assert nodes.let_in == wanted
    assert flower.status == {
        "1": "unregistered", "2": "unregistered", "3": "unregistered", "4": "unregistered",
        "5": "unregistered",
    }  # fmt: skip


def test_two_nodes_of_which_none_was_heard_are_given_to_no_site(nodes: Nodes, flower: Flower) -> None:
    flower.unheard = [CUT]
    try_register(nodes, "aster", "first")
    flower.status["another"] = "registered"
    with pytest.raises(EngineError, match="whose nodes 1, another are was not remembered"):
        nodes.register("aster", "first")
