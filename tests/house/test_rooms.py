"""The house: which room may know which, which rooms `shared` may have, and that each states its law.

A room is a folder of a package, or a file that lies directly in a package (``client/app.py``). The
layers are contracts of the import linter in pyproject.toml; here is what layers cannot say.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "server", "shared")
# Folders whose files are rooms of their own: what is in them stands on different floors.
OPEN = {*PACKAGES, "shared.audit"}
ROOMS = sorted(
    path.parent.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("__init__.py")
)
# One process holds both sides here: what they use of shared says nothing about who must agree on it.
BOTH_SIDES = ("server.demo", "server.simulation", "server.engines")

Graph = Mapping[str, Mapping[str, set[str]]]


def imported_by(path: Path) -> set[str]:
    """Names of our modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] in PACKAGES}


def module_of(path: Path) -> str:
    """The dotted name of a file; a package's for its ``__init__.py``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room of a module; a package is its own."""
    if (ROOT / module.replace(".", "/")).is_dir():
        return module
    folder = module.rpartition(".")[0]
    return module if folder in OPEN else folder


def room_graph() -> Graph:
    """Room → rooms that it imports → the modules of it that do so."""
    arrows: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = module_of(path)
            for other in imported_by(path):
                if room_of(other) != room_of(module):
                    arrows[room_of(module)][room_of(other)].add(module)
    return arrows


def reached_from(room: str, arrows: Graph) -> set[str]:
    """Rooms that a room imports, itself or through others."""
    found: set[str] = set()
    waiting = [room]
    while waiting:
        for other in arrows.get(waiting.pop(), {}):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def side_of(room: str) -> str | None:
    """Client, server or audit; None for what belongs to no one side."""
    if room == "shared.audit" or room.startswith("shared.audit."):
        return "audit"
    if room.startswith(("shared", *BOTH_SIDES)):
        return None
    return room.split(".")[0]


def sides_of_shared(arrows: Graph) -> dict[str, set[str]]:
    """Room of shared → the sides that reach it, themselves or through others of its rooms."""
    modules = {
        module_of(path) for path in (ROOT / "shared").rglob("*.py") if path.name != "__init__.py"
    }
    rooms = {room_of(module) for module in modules} - {"shared"}
    sides: dict[str, set[str]] = {room: set() for room in sorted(rooms) if side_of(room) != "audit"}
    for room in arrows:
        side = side_of(room)
        for other in reached_from(room, arrows):
            if side is not None and other in sides:
                sides[other].add(side)
    return sides


def test_a_circle_of_rooms_is_seen() -> None:
    arrows = {"a": {"b": {"a.x"}}, "b": {"c": {"b.x"}}, "c": {"a": {"c.x"}}, "d": {"a": {"d.x"}}}
    assert reached_from("a", arrows) == {"a", "b", "c"}
    assert "d" not in reached_from("d", arrows)


def test_no_room_imports_itself_through_others() -> None:
    arrows = room_graph()
    assert len(arrows) > 40
    circles = [
        f"{room} -> {other} ({', '.join(sorted(modules))})"
        for room, others in arrows.items()
        for other, modules in others.items()
        if room in reached_from(other, arrows)
    ]
    assert not circles


def test_every_room_of_shared_is_reached_by_two_sides() -> None:
    sides = sides_of_shared(room_graph())
    assert len(sides) > 10
    one_sided = {room: found for room, found in sides.items() if len(found) < 2}
    assert not one_sided


def test_server_meets_client_in_three_rooms_only() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ][0]
    assert contract["layers"] == ["server | client", "shared"]
    assert set(contract["ignore_imports"]) == {f"{room}.** -> client.**" for room in BOTH_SIDES}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_states_its_law(room: str) -> None:
    lines = (ROOT / room / "README.md").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert 2 <= len(lines) <= 40
