"""Where a client finds its site folder, whichever engine runs it.

A real SuperNode and the local engine name the folder in ``node_config``; Flower's simulation engine
knows only a partition number, which indexes the folders in ``OSTEOFED_SIMULATED_SITES``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from flwr.app import Context

from shared.errors import EngineError

SIMULATED_SITES = "OSTEOFED_SIMULATED_SITES"


def site_folder_from(context: Context) -> Path:
    """The site folder of the node that handles a message.

    Raises:
        EngineError: the node was started without one.
    """
    folder = context.node_config.get("site-folder")
    if isinstance(folder, str) and folder:
        return Path(folder)
    partition = context.node_config.get("partition-id")
    listed = os.environ.get(SIMULATED_SITES)
    if isinstance(partition, int) and listed:
        folders = json.loads(listed)
        if 0 <= partition < len(folders):
            return Path(folders[partition])
    raise EngineError(
        "no-site-folder",
        "this client was started without a site folder",
        hint="start it with `osteofed-site start`, or pass --node-config 'site-folder=\"…\"'",
    )
