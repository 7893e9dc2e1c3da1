"""What failed at a site: its text stays in ``log/refusals.jsonl``, a code and an id may leave.

Imports errors and files.
"""

from __future__ import annotations

import errno
import json
import traceback
from pathlib import Path

from shared.errors import OsteoFedError
from shared.machine.files import append_line

# What is logged of an error: a hostile message must not fill the disk through its own refusal.
_MAX_LOGGED_CHARACTERS = 20_000
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


def log_failure(folder: Path, error: Exception, *, correlation_id: str, utc: str) -> None:
    """Write an error's text to the site's log."""
    line = {
        "utc": utc,
        "correlation_id": correlation_id,
        "code": code_of(error),
        "text": "".join(traceback.format_exception(error))[-_MAX_LOGGED_CHARACTERS:],
    }
    append_line(folder / "refusals.jsonl", json.dumps(line).encode() + b"\n")
