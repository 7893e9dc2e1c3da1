"""What failed at a site: its text stays in ``log/refusals.jsonl``, a code and an id may leave.

Whoever sends messages that are refused, ten a second for a day, must not fill a hospital's disk: of one
code the text is logged once a minute, with a line that counts the others. Imports errors and files.
"""

from __future__ import annotations

import errno
import json
import secrets
import traceback
from dataclasses import dataclass
from pathlib import Path

from shared.errors import OsteoFedError
from shared.machine.files import append_line, locked, write_atomic

# What is logged of an error: a hostile message must not fill the disk through its own refusal.
_MAX_LOGGED_CHARACTERS = 20_000
_MINUTES = "refusals-minutes.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_DISK = (*_FULL, errno.EIO, errno.EROFS)


def is_of_the_disk(error: Exception) -> bool:
    """Whether a disk failed: a cause that no patient's bytes and no noise have a part in."""
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def code_of(error: Exception) -> str:
    """The code under which an error may leave."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return "osteofed.disk-full"
    return error.code if isinstance(error, OsteoFedError) else "osteofed.internal"


@dataclass(frozen=True, kw_only=True)
class Logged:
    """Where a refusal's text lies, and whether it was written for this one or for one before it."""

    correlation_id: str
    is_new: bool


def log_refusal(folder: Path, error: Exception, *, utc: str) -> Logged:
    """Write an error's text to the site's log, unless one of its code lies there of this minute.

    Args:
        folder: the site's ``log``.
        error: what is refused for it.
        utc: now, in ISO 8601.
    """
    code, minute = code_of(error), utc[:16]
    with locked(folder / "refusals.lock"):
        seen = _read_minutes(folder / _MINUTES)
        before = seen.get(code)
        if before is not None and before["minute"] == minute:
            before["further"] = int(before["further"]) + 1
        else:
            if before is not None and before["further"]:
                append_line(_log_of(folder), json.dumps({"code": code, **before}).encode() + b"\n")
            seen[code] = {"minute": minute, "further": 0, "correlation_id": secrets.token_hex(8)}
            log_failure(folder, error, correlation_id=str(seen[code]["correlation_id"]), utc=utc)
        write_atomic(folder / _MINUTES, json.dumps(seen).encode(), mode=0o600)
    found = seen[code]
    return Logged(correlation_id=str(found["correlation_id"]), is_new=not found["further"])


def _read_minutes(path: Path) -> dict[str, dict[str, str | int]]:
    """The last minute of each code and how often it came again; nothing where none can be read."""
    try:
        read: dict[str, dict[str, str | int]] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return read


def _log_of(folder: Path) -> Path:
    return folder / "refusals.jsonl"


def log_failure(folder: Path, error: Exception, *, correlation_id: str, utc: str) -> None:
    """Write an error's text to the site's log."""
    line = {
        "utc": utc,
        "correlation_id": correlation_id,
        "code": code_of(error),
        "text": "".join(traceback.format_exception(error))[-_MAX_LOGGED_CHARACTERS:],
    }
    append_line(_log_of(folder), json.dumps(line).encode() + b"\n")
