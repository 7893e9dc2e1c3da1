"""A local engine whose sites fail: an update lost, late, spoilt or forged, by site and round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from server.engines.local import LocalGrid, play_on
from shared.contract.protocol import SumReply, any_from_record, signed_bytes, to_record
from shared.signing.keys import load_key

FaultKind = Literal[
    "drop",
    "delay",
    "exception",
    "corrupt-nan",
    "wrong-shape",
    "wrong-plan",
    "duplicate",
    "forged-signature",
    "oversized",
    "infinite",
    "replayed",
    "borrowed",
    "stale",
    "scaled",
]
TIMES = 10  # a scaled total is so many of the honest one


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with a site's update in a round. ``delay_s`` belongs to ``delay``."""

    site: str
    round: int
    kind: FaultKind
    delay_s: float = 0.0


class FaultyGrid(LocalGrid):
    """``LocalGrid`` whose replies to ``train`` meet at most one fault per site and round."""

    def __init__(
        self, client_app: ClientApp, site_folders: Mapping[str, Path], *, faults: Sequence[Fault]
    ) -> None:
        super().__init__(self._client_or_exception, site_folders)
        self._real_client_app = client_app
        self._names = dict(zip(self.get_node_ids(), site_folders, strict=True))
        self._faults = {(fault.site, fault.round): fault for fault in faults}
        self._hit: dict[str, Fault] = {}
        self._late: dict[str, tuple[float, list[Message]]] = {}
        self._folders = site_folders
        self._answered: dict[tuple[str, int], SumReply] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names = []
        for message in messages:
            [name] = super().push_messages([message])
            if (fault := self._fault_of(message)) is not None:
                self._hit[name] = fault
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        arrived = []
        for name in message_ids:
            replies = list(super().pull_messages([name]))
            for reply in replies:
                self._remember(reply)
            arrived += self._after(self._hit[name], name, replies) if name in self._hit else replies
        return arrived

    def _client_or_exception(self, message: Message, context: Context) -> Message:
        fault = self._fault_of(message)
        if fault is not None and fault.kind == "exception":
            raise RuntimeError("injected fault")
        return self._real_client_app(message, context)

    def _fault_of(self, message: Message) -> Fault | None:
        metadata = message.metadata
        stage, _, number = metadata.group_id.rpartition("-")
        if stage != "train" or not number.isdigit():
            return None
        return self._faults.get((self._names[metadata.dst_node_id], int(number)))

    def _remember(self, reply: Message) -> None:
        if reply.has_content():
            content = any_from_record(reply.content)
            if isinstance(content, SumReply):
                self._answered[content.site, content.round] = content

    def _spoilt(self, content: RecordDict, fault: Fault) -> RecordDict:
        """What needs the site's key or an answer of before; anything else needs the reply alone."""
        reply, before = any_from_record(content), self._answered.get((fault.site, fault.round - 1))
        if not isinstance(reply, SumReply) or before is None:
            return spoilt(content, fault.kind)
        if fault.kind == "replayed":
            return to_record(before)
        if fault.kind == "borrowed":
            others = [each for (site, _), each in self._answered.items() if site != fault.site]
            return to_record(others[0])
        if fault.kind == "stale":
            return self._signed(fault.site, replace(reply, vector_sha256=before.vector_sha256))
        if fault.kind == "scaled":
            return self._signed(fault.site, replace(reply, total=TIMES * reply.total))
        return spoilt(content, fault.kind)

    def _signed(self, site: str, reply: SumReply) -> RecordDict:
        key = load_key(self._folders[site] / "keys" / "site.pem")
        return to_record(replace(reply, signature=key.sign(signed_bytes(reply))))

    def _after(self, fault: Fault, name: str, replies: list[Message]) -> list[Message]:
        """What arrives of the replies that a client gave."""
        if fault.kind == "drop":
            return []
        if fault.kind == "delay":
            due, held = self._late.get(name, (time.monotonic() + fault.delay_s, replies))
            self._late[name] = due, held
            if time.monotonic() < due:
                return []
            self._late[name] = due, []
            return held
        for reply in replies:
            if reply.has_content():
                reply.content = self._spoilt(reply.content, fault)
        return replies * 2 if fault.kind == "duplicate" else replies


def run_with_faults(
    run_folder: Path,
    site_folders: Mapping[str, Path],
    *,
    client_app: ClientApp,
    faults: Sequence[Fault],
) -> None:
    """Train a run in this process while sites fail."""
    play_on(FaultyGrid(client_app, site_folders, faults=faults), run_folder, stage="train")


def spoilt(content: RecordDict, kind: FaultKind) -> RecordDict:
    """The reply as a faulty or hostile site would send it."""
    reply = any_from_record(content)
    if not isinstance(reply, SumReply):
        return content
    total = reply.total.copy()
    if kind == "corrupt-nan":
        total[0] = np.nan
        return to_record(replace(reply, total=total))
    if kind == "infinite":
        total[-1] = np.inf
        return to_record(replace(reply, total=total))
    if kind == "wrong-shape":
        return to_record(replace(reply, total=total[:-1]))
    if kind == "oversized":
        return to_record(replace(reply, total=(total + 1e6).astype(total.dtype)))
    if kind == "wrong-plan":
        return to_record(replace(reply, plan_sha256="0" * 64))
    if kind == "forged-signature":
        return to_record(replace(reply, signature="0" * 128))
    return content
