"""An exception that nobody raised on purpose, as an error for people. Imports errors and files."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

from shared.errors import OsteoFedError
from shared.machine.files import PROJECT

# Where it is set, a command shows the whole text of such an exception.
TRACEBACK = "OSTEOFED_TRACEBACK"


def unexpected(error: BaseException) -> OsteoFedError:
    """What is told of it: a full disk as such, else its type and the last line of ours it came through.

    Its text could hold a patient's values.

    Args:
        error: as it was caught.
    """
    if isinstance(error, OsteoFedError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OsteoFedError(
            "disk-full",
            "no space is left on the disk, or in this user's quota",
            hint="free some and run the same again: a file is whole or absent, what was read is kept",
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(PROJECT)]
    place = (own or frames)[-1]
    return OsteoFedError(
        "internal",
        f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}",
        hint=f"{TRACEBACK}=1 shows the whole text; it may name patients, do not pass it on",
    )
