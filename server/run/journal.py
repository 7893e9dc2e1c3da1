"""The replies journal of a stage: what each site answered in a round, written as it arrives.

Flower deletes a reply once it is pulled, so this is the only copy. A rejected reply is kept with its
code, a reply that is no reply as its code alone. Totals are read back as memory maps. The files are
not flushed one by one: a power cut loses or tears at most replies of the open round; what is torn is
set aside, and sites send it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shared.contract.payload import reply_of, text_of
from shared.contract.protocol import SumReply, Vector, vector_sha256
from shared.contract.vector_file import open_vectors, write_vectors
from shared.errors import RunError


@dataclass(frozen=True)
class JournalledReply:
    """An accepted reply, its total [m] memory-mapped, and the total's hash."""

    reply: SumReply
    total_sha256: str


@dataclass(frozen=True)
class RoundJournal:
    """A round so far: accepted replies by site in roster order, and codes of the other answers."""

    accepted: Mapping[str, JournalledReply] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)


class Journal:
    """The journal below a run's folder.

    Args:
        folder: ``<run>/replies/STAGE``.
        sites: asked sites in roster order.
        length: m; of a rejected total at most four times as much is kept.
    """

    def __init__(self, folder: Path, *, sites: tuple[str, ...], length: int) -> None:
        self._folder = folder
        self._sites = sites
        self._kept_length = 4 * length

    def accept(self, number: int, reply: SumReply, *, site: str, total_sha256: str) -> None:
        """Keep an accepted reply."""
        text = {"rejected": "", "total_sha256": total_sha256, **text_of(reply)}
        self._write(number, site, {"total": reply.total}, text)

    def reject(self, number: int, reply: SumReply | None, *, site: str, code: str) -> None:
        """Keep why a site's answer is no total, and the total if there is one worth keeping."""
        text, vectors = {"rejected": code}, {}
        if reply is not None and reply.total.dtype in (np.dtype("<f4"), np.dtype("<f8")):
            text |= text_of(reply)
            vectors = {"total": reply.total[: self._kept_length]}
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
            entry = self._entry(path)
            if isinstance(entry, str):
                rejected[site] = entry
            else:
                accepted[site] = entry
        return RoundJournal(accepted, rejected)

    def set_aside(self, number: int, *, unless: Callable[[SumReply], bool] = lambda _: True) -> None:
        """Rename answers of a round that do not stand, so that those sites are asked again.

        Args:
            unless: which accepted replies stand; rejected ones never do.
        """
        so_far = self.read(number)
        unsettled = [site for site, entry in so_far.accepted.items() if not unless(entry.reply)]
        for site in (*so_far.rejected, *unsettled):
            self._rename_aside(number, site)

    def set_torn_aside(self, number: int) -> tuple[str, ...]:
        """Rename the answers of an open round that cannot be read, so that those sites are asked again.

        Returns:
            The sites, in roster order.
        """
        torn = tuple(site for site in self._sites if self._is_torn(number, site))
        for site in torn:
            self._rename_aside(number, site)
        return torn

    def _is_torn(self, number: int, site: str) -> bool:
        """Whether a kept answer is damaged; of a total that is whole in form, the hash tells."""
        path = self._path(number, site)
        if not path.exists():
            return False
        try:
            entry = self._entry(path)
        except (RunError, LookupError, ValueError, TypeError):
            return True
        return not isinstance(entry, str) and vector_sha256(entry.reply.total) != entry.total_sha256

    def _entry(self, path: Path) -> JournalledReply | str:
        """An accepted reply, or the code with which it was rejected."""
        stored = open_vectors(path)
        if code := stored.text["rejected"]:
            return code
        reply = reply_of(stored.text, stored.vectors["total"])
        return JournalledReply(reply, stored.text["total_sha256"])

    def _rename_aside(self, number: int, site: str) -> None:
        path = self._path(number, site)
        attempt = len(list(path.parent.glob(f"{site}.*.aside"))) + 1
        path.rename(path.with_name(f"{site}.{attempt}.aside"))

    def _path(self, number: int, site: str) -> Path:
        return self._folder / f"{number:04d}" / f"{site}.safetensors"

    def _write(
        self, number: int, site: str, vectors: Mapping[str, Vector], text: Mapping[str, str]
    ) -> None:
        write_vectors(self._path(number, site), vectors, text=text, is_durable=False)
