"""The replies journal of a run: what each site answered in a round, written as it arrives.

Flower deletes a reply once it is pulled, so this is the only copy. A rejected reply is kept with its
code, a reply that is no reply as its code alone. Updates are read back as memory maps. The files are
not flushed one by one: a power cut loses at most replies of the open round, which sites send again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from server.run.vector_file import open_vectors, write_vectors
from shared.contract.protocol import TrainReply, Vector


@dataclass(frozen=True)
class JournalledReply:
    """An accepted reply, its update [p] memory-mapped, and the update's hash."""

    reply: TrainReply
    update_sha256: str


@dataclass(frozen=True)
class RoundJournal:
    """A round so far: accepted replies by site in roster order, and codes of the other answers."""

    accepted: Mapping[str, JournalledReply] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)


class Journal:
    """The journal below a run's folder.

    Args:
        folder: ``<run>/replies``.
        sites: training sites in roster order.
        n_parameters: p; of a rejected update at most four times as much is kept.
    """

    def __init__(self, folder: Path, *, sites: tuple[str, ...], n_parameters: int) -> None:
        self._folder = folder
        self._sites = sites
        self._kept_parameters = 4 * n_parameters

    def accept(self, number: int, reply: TrainReply, *, site: str, update_sha256: str) -> None:
        """Keep an accepted reply."""
        text = {"rejected": "", "update_sha256": update_sha256, **_text_of(reply)}
        self._write(number, site, {"update": reply.update}, text)

    def reject(self, number: int, reply: TrainReply | None, *, site: str, code: str) -> None:
        """Keep why a site's answer is not an update, and the update if there is one worth keeping."""
        text, vectors = {"rejected": code}, {}
        if reply is not None and reply.update.dtype == np.dtype("<f4"):
            text |= _text_of(reply)
            vectors = {"update": reply.update[: self._kept_parameters]}
        self._write(number, site, vectors, text)

    def read(self, number: int) -> RoundJournal:
        """What is journalled of a round.

        Raises:
            RunError: a file is damaged.
        """
        accepted, rejected = {}, {}
        for site in self._sites:
            path = self._path(number, site)
            if not path.exists():
                continue
            stored = open_vectors(path)
            if code := stored.text["rejected"]:
                rejected[site] = code
            else:
                reply = _reply_of(stored.text, stored.vectors["update"])
                accepted[site] = JournalledReply(reply, stored.text["update_sha256"])
        return RoundJournal(accepted, rejected)

    def set_rejected_aside(self, number: int) -> None:
        """Rename a round's rejected answers, so that a resumed run asks those sites again."""
        for site in self.read(number).rejected:
            path = self._path(number, site)
            attempt = len(list(path.parent.glob(f"{site}.*.aside"))) + 1
            path.rename(path.with_name(f"{site}.{attempt}.aside"))

    def _path(self, number: int, site: str) -> Path:
        return self._folder / f"{number:04d}" / f"{site}.safetensors"

    def _write(
        self, number: int, site: str, vectors: Mapping[str, Vector], text: Mapping[str, str]
    ) -> None:
        write_vectors(self._path(number, site), vectors, text=text, is_durable=False)


def _text_of(reply: TrainReply) -> dict[str, str]:
    return {
        entry.name: str(getattr(reply, entry.name)) for entry in fields(reply) if entry.name != "update"
    }


def _reply_of(text: Mapping[str, str], update: Vector) -> TrainReply:
    return TrainReply(
        plan_sha256=text["plan_sha256"],
        round=int(text["round"]),
        site=text["site"],
        weights_sha256=text["weights_sha256"],
        update=update,
        ledger_head=text["ledger_head"],
        signature=text["signature"],
    )
