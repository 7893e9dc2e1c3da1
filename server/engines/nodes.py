"""Which nodes the running SuperLink lets in: those of the sites that are enrolled now, and no others.

Flower cannot list keys, and a key that was unregistered can never be used again; so what was registered
is remembered here, with its node: ``registered.json`` of the deployment. One process writes it, the one
that runs the SuperLink. Imports errors and files.
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
_NOBODY: dict[str, Any] = {"key": None, "node": None, "former": []}


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
        known = self._known()
        return {site: "" if each["former"] else each["key"].strip() for site, each in known.items()}

    def admit(self, node_keys: Mapping[str, str]) -> None:
        """Let in the nodes of these sites and no others; each site is taken for itself.

        Args:
            node_keys: public node key by site, of all sites that are enrolled.

        Raises:
            EngineError: of the first site where Flower refused it; the others are done.
        """
        gone = [site for site in self._known() if site not in node_keys]
        refused: list[EngineError] = []
        for site, key in [*((site, None) for site in gone), *node_keys.items()]:
            try:
                self.shut_out(site) if key is None else self.register(site, key)
            except EngineError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def register(self, site: str, key: str) -> None:
        """Let in a site by its node key, once, and no longer by the one before it.

        Raises:
            EngineError: Flower refuses it, or the node of the former key was not remembered.
        """
        before = self._known().get(site, _NOBODY)
        if (before["key"] or "").strip() != key.strip():
            former = self._former(site, before)
            public = self.folder / "node-keys" / f"{site}.pub"
            write_atomic(public, key.strip().encode() + b"\n")
            told = self.flwr("supernode", "register", str(public), CONNECTION, "--name", site)
            before = {"key": key.strip(), "node": str(told["node-id"]), "former": former}
            self._remember(site, before)
        if before["former"]:
            self._unregister(before["former"])
            self._remember(site, before | {"former": []})

    def shut_out(self, site: str) -> None:
        """Let a site in no more, for good under the key that it had.

        Raises:
            EngineError: as ``register``.
        """
        former = self._former(site, self._known()[site])
        self._remember(site, _NOBODY | {"key": "", "former": former})
        self._unregister(former)
        self._remember(site, None)

    def _former(self, site: str, before: Mapping[str, Any]) -> list[str]:
        former = [*before["former"], *([before["node"]] if before["key"] else [])]
        if None in former:
            raise EngineError(
                "unknown-node",
                f"the former node key of {site} cannot be taken back: its node was not remembered",
                hint=f"delete registered.json and superlink.sqlite in {self.folder} and serve again: "
                "every site's key is registered anew; a run that was under way is resumed",
            )
        return former

    def _unregister(self, nodes: Sequence[str]) -> None:
        """Let nodes in no more, those that still are; again after it was cut off."""
        listed = self.flwr("supernode", "list", CONNECTION)["nodes"]
        inside = {each["node-id"] for each in listed if each["status"] != "unregistered"}
        for node in nodes:
            if node in inside:
                self.flwr("supernode", "unregister", node, CONNECTION)

    def _known(self) -> dict[str, dict[str, Any]]:
        memory = self.folder / "registered.json"
        found = json.loads(memory.read_bytes()) if memory.exists() else {}
        return {  # releases up to 0.2 wrote the key alone
            site: _NOBODY | {"key": each} if isinstance(each, str) else each
            for site, each in found.items()
        }

    def _remember(self, site: str, node: Mapping[str, Any] | None) -> None:
        known: dict[str, Any] = self._known()
        known[site] = node
        kept = {name: each for name, each in known.items() if each is not None}
        write_atomic(self.folder / "registered.json", json.dumps(kept, indent=1).encode())
