"""Whether a disk has room for what a round writes, asked before any site pays for the round.

Imports the run store.
"""

from __future__ import annotations

import contextlib
import shutil

from server.run.folder import Event, RunStore
from shared.errors import RunError

FULL = "run.disk-full"
MARGIN_BYTES = 1 << 20  # for events, heads, outcome and what names the round's state
_MIB = 1 << 20


def require_room(store: RunStore, n_bytes: int, *, number: int) -> None:
    """Refuse a round that its disk cannot hold; the run is told as an event.

    Args:
        store: the run.
        n_bytes: that the round will write.
        number: of the round.

    Raises:
        RunError: which disk, how much the round needs there, and how much is free.
    """
    needed, free = n_bytes + MARGIN_BYTES, shutil.disk_usage(store.folder).free
    if free >= needed:
        return
    with contextlib.suppress(OSError):  # it may have no room for this line either
        store.log(Event(round=number, site="", code=FULL))
    raise RunError(
        "disk-full",
        f"round {number} needs {needed / _MIB:.1f} MiB on the disk of {store.folder.resolve()}, of "
        f"which {free / _MIB:.1f} MiB are free",
        hint="free some there and `osteofed-coordinator resume`; nobody was asked or paid for it",
    )
