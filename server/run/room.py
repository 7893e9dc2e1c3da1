"""Whether a disk has room for what a round writes: asked before a site pays, said when it fills.

    <run>/reserve   room for the event and the outcome of a stage that a full disk stops

Imports the run store.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from server.run.folder import Event, RunStore
from shared.errors import EngineError, OsteoFedError, RunError
from shared.machine.files import write_atomic

FULL = "run.disk-full"
MARGIN_BYTES = 1 << 20  # for events, heads, outcome and what names the round's state
RESERVE_BYTES = 1 << 16
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
    if shutil.disk_usage(store.folder).free >= n_bytes + MARGIN_BYTES:
        return
    raise _disk_full(store, n_bytes, number=number, then="nobody was asked or paid for it")


def keep_reserve(store: RunStore) -> None:
    """Keep room on the disk for what is to be said once it is full."""
    write_atomic(_reserve(store), secrets.token_bytes(RESERVE_BYTES))  # zeros may take no room


def give_reserve(store: RunStore) -> None:
    """Give that room back."""
    _reserve(store).unlink(missing_ok=True)


@contextlib.contextmanager
def told_if_full(store: RunStore, n_bytes: int, *, number: int) -> Iterator[None]:
    """Say of what breaks inside the block on a full disk that it is full, as ``require_room`` does.

    What an engine then says is a consequence; any other error of this program stands.

    Args:
        store: the run.
        n_bytes: that the block writes.
        number: of the round.

    Raises:
        RunError: which disk, how much the round needs there, and how much is free.
    """
    try:
        yield
    except Exception as error:
        is_own = isinstance(error, OsteoFedError) and not isinstance(error, EngineError)
        has_room = shutil.disk_usage(store.folder).free >= n_bytes + MARGIN_BYTES
        if is_own or (has_room and not _is_no_space(error)):
            raise
        give_reserve(store)
        paid = "what sites have paid for is kept there, and sent without a charge"
        raise _disk_full(store, n_bytes, number=number, then=paid) from error


def _disk_full(store: RunStore, n_bytes: int, *, number: int, then: str) -> RunError:
    needed, free = n_bytes + MARGIN_BYTES, shutil.disk_usage(store.folder).free
    with contextlib.suppress(OSError):  # it may have no room for this line either
        store.log(Event(round=number, site="", code=FULL))
    return RunError(
        "disk-full",
        f"round {number} needs {needed / _MIB:.1f} MiB on the disk of {store.folder.resolve()}, of "
        f"which {free / _MIB:.1f} MiB are free",
        hint=f"free some there and `osteofed-coordinator resume`, or `validate` again; {then}",
    )


def _is_no_space(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _reserve(store: RunStore) -> Path:
    return store.folder / "reserve"
