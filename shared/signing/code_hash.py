"""The identity of the installed code: what a site runs, and what a plan was written for.

Counts the Python files of ``server``, ``client`` and ``shared``, not configs: a new YAML needs a new
approval of a plan, never of code. Imports canonical and files only.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from shared.machine.files import PROJECT
from shared.signing.canonical import hash_file, hash_of

PACKAGES = ("client", "server", "shared")


@lru_cache(maxsize=1)
def installed_code_hash() -> str:
    """SHA-256 over names and contents of the installed source files."""
    return code_hash(PROJECT)


def code_hash(root: Path) -> str:
    """SHA-256 over names and contents of the source files below ``root``."""
    files = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return hash_of([[path.relative_to(root).as_posix(), hash_file(path)] for path in files])
