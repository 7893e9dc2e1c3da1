"""Which nodes the running SuperLink lets in: those of the sites that are enrolled now, and no others.

Flower cannot list keys, and a key that was unregistered can never be used again; so what was registered
is remembered here, with its node: ``registered.json`` of the deployment. One process writes it, the one
that runs the SuperLink. What Flower is asked is written before, since it may do it unheard: then
the node that came is the one in its list that was not there. Imports errors and files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import EngineError
from shared.machine.files import write_atomic

CONNECTION = "federation"
_NOBODY: dict[str, Any] = {"key": None, "node": None, "former": [], "asked": None}


@dataclass(frozen=True)
class Nodes:
    """The nodes of one deployment.

    Attributes:
        folder: of the deployment's files.
        flwr: one command of Flower's own program, and its answer.
    """

    folder: Path
    flwr: Callable[..., dict[str, Any]]

    @property
    def let_in(self) -> dict[str, str]:
        """Public node key by site of those that are let in; empty where a former node still is too."""
        return {
            site: "" if each["former"] or each["asked"] else each["key"].strip()
            for site, each in self._known().items()
        }

    def admit(self, node_keys: Mapping[str, str]) -> None:
        """Let in the nodes of these sites and no others; each site is taken for itself.

        Args:
            node_keys: public node key by site, of all sites that are enrolled.

        Raises:
            EngineError: of the first site where Flower refused it; the others are done.
        """
        gone = [site for site in self._known() if site not in node_keys]
        refused: list[EngineError] = []
        others: list[str] = []
        for site, key in [*((site, None) for site in gone), *node_keys.items()]:
            try:
                self.shut_out(site) if key is None else self.register(site, key, others)
            except EngineError as error:
                refused.append(error)
                others.clear()
        if refused:
            raise refused[0]

    def register(self, site: str, key: str, others: list[str] | None = None) -> None:
        """Let in a site by its node key, once, and no longer by the one before it.

        Args:
            site: by name.
            key: its public node key.
            others: the nodes that Flower had a moment ago; looked for where there are none.

        Raises:
            EngineError: Flower refuses it, or the node of the former key was not remembered.
        """
        before = self._known().get(site, _NOBODY)
        if before["asked"] and before["asked"]["key"] != key.strip():
            before = self._settled(before)
            self._remember(site, before)
        if (before["key"] or "").strip() != key.strip():
            former = self._former(site, before)
            node = self._let_in(site, key.strip(), before, [] if others is None else others)
            before = _NOBODY | {"key": key.strip(), "node": node, "former": former}
            self._remember(site, before)
        if before["former"]:
            self._unregister(before["former"])
            self._remember(site, before | {"former": []})

    def shut_out(self, site: str) -> None:
        """Let a site in no more, for good under the key that it had.

        Raises:
            EngineError: as ``register``.
        """
        former = self._former(site, self._settled(self._known()[site]))
        self._remember(site, _NOBODY | {"key": "", "former": former})
        self._unregister(former)
        self._remember(site, None)

    def _let_in(self, site: str, key: str, before: dict[str, Any], others: list[str]) -> str:
        """The node of a key that Flower lets in now, or did when it was asked before."""
        asked = before["asked"]
        if not asked:
            others[:] = others or self._inside()
            asked = {"key": key, "others": list(others)}
            self._remember(site, before | {"asked": asked})
        public = self.folder / "node-keys" / f"{site}.pub"
        write_atomic(public, key.encode() + b"\n")
        try:
            told = self.flwr("supernode", "register", str(public), CONNECTION, "--name", site)
        except EngineError as error:
            came = self._came(asked)
            if came:
                return came
            if error.code == "engine.flower-refused":
                self._remember(site, before | {"asked": None} if before["key"] is not None else None)
            raise
        return str(told["node-id"])

    def _came(self, asked: Mapping[str, Any]) -> str:
        """The node that is let in since this was asked, and is no site's; empty where there is none.

        Raises:
            EngineError: there are several.
        """
        known = [n for each in self._known().values() for n in (each["node"], *each["former"])]
        came = [n for n in self._inside() if n not in known and n not in asked["others"]]
        if len(came) > 1:
            raise self._unknown(f"whose nodes {', '.join(came)} are was not remembered")
        return "".join(came)

    def _settled(self, before: dict[str, Any]) -> dict[str, Any]:
        """Count what was asked, and is not wanted any more, among the former nodes, if it was done."""
        came = self._came(before["asked"]) if before["asked"] else ""
        return before | {"asked": None, "former": [*before["former"], *([came] if came else [])]}

    def _former(self, site: str, before: Mapping[str, Any]) -> list[str]:
        former = [*before["former"], *([before["node"]] if before["key"] else [])]
        if None in former:
            raise self._unknown(
                f"the former node key of {site} cannot be taken back: its node was not remembered"
            )
        return former

    def _unknown(self, fact: str) -> EngineError:
        return EngineError(
            "unknown-node",
            fact,
            hint=f"delete registered.json and superlink.sqlite in {self.folder} and serve again: "
            "every site's key is registered anew; a run that was under way is resumed",
        )

    def _inside(self) -> list[str]:
        """The nodes that Flower lets in."""
        listed = self.flwr("supernode", "list", CONNECTION)["nodes"]
        return [str(each["node-id"]) for each in listed if each["status"] != "unregistered"]

    def _unregister(self, nodes: Sequence[str]) -> None:
        """Let nodes in no more, those that still are; again after it was cut off."""
        inside = self._inside()
        for node in nodes:
            if node in inside:
                self.flwr("supernode", "unregister", node, CONNECTION)

    def _known(self) -> dict[str, dict[str, Any]]:
        memory = self.folder / "registered.json"
        found = json.loads(memory.read_bytes()) if memory.exists() else {}
        return {  # releases up to 0.2 wrote the key alone
            site: _NOBODY | ({"key": each} if isinstance(each, str) else each)
            for site, each in found.items()
        }

    def _remember(self, site: str, node: Mapping[str, Any] | None) -> None:
        known: dict[str, Any] = self._known()
        known[site] = node
        kept = {name: each for name, each in known.items() if each is not None}
        write_atomic(self.folder / "registered.json", json.dumps(kept, indent=1).encode())
