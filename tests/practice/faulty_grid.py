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
from shared.contract.protocol import SumReply, any_from_record, to_record

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
]


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
                reply.content = spoilt(reply.content, fault.kind)
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
    if kind == "wrong-shape":
        return to_record(replace(reply, total=total[:-1]))
    if kind == "oversized":
        return to_record(replace(reply, total=(total + 1e6).astype(total.dtype)))
    if kind == "wrong-plan":
        return to_record(replace(reply, plan_sha256="0" * 64))
    if kind == "forged-signature":
        return to_record(replace(reply, signature="0" * 128))
    return content
