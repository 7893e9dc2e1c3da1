"""``osteofed-coordinator`` whose ServerApp dies: its bundle is the project with ``dying_serverapp``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from server.command.app import app
from server.engines import superlink
from shared.machine.files import PROJECT

__all__ = ["app"]
HOOK = "dying_serverapp"


def bundle(folder: Path) -> Path:
    """The project as it is shipped, with the hook; made once."""
    if not folder.exists():
        unwanted = shutil.ignore_patterns("__pycache__")
        for name in ("server", "client", "shared", "configs"):
            shutil.copytree(PROJECT / name, folder / name, ignore=unwanted)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(PROJECT / name, folder / name)
        shutil.copy(Path(__file__).with_name(f"{HOOK}.py"), folder / "server" / f"{HOOK}.py")
        with (folder / "server" / "app.py").open("a") as stream:
            stream.write(f"\nimport server.{HOOK}  # noqa: E402, F401\n")
    return folder


superlink.PROJECT = bundle(Path(os.environ["OSTEOFED_CHAOS_BUNDLE"]))
