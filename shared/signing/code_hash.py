"""The identity of the installed code: what a site runs, and what a plan was written for.

Counts the Python files and templates of ``server``, ``client`` and ``shared``, not configs: a new YAML
needs a new approval of a plan, never of code. What else is installed is named beside it and compared
with nothing: hospitals with and without a GPU share a plan. Imports canonical and files only.
"""

from __future__ import annotations

import importlib.metadata
import re
from functools import lru_cache
from pathlib import Path

from shared.machine.files import PROJECT
from shared.signing.canonical import hash_file, hash_of

PACKAGES = ("client", "server", "shared")
# Source, and templates: what people read is written by them.
COUNTED = frozenset({".py", ".j2", ".html", ".css"})


@lru_cache(maxsize=1)
def installed_code_hash() -> str:
    """SHA-256 over names and contents of the installed source files and templates."""
    return code_hash(PROJECT)


def code_hash(root: Path) -> str:
    """SHA-256 over names and contents of the source files and templates below ``root``."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*"))
    files = sorted(path for path in found if path.suffix in COUNTED)
    return hash_of([[path.relative_to(root).as_posix(), hash_file(path)] for path in files])


@lru_cache(maxsize=1)
def environment_sha256() -> str:
    """SHA-256 over names and versions of the installed distributions."""
    found = importlib.metadata.distributions()
    # a name's spelling differs by installer: PEP 503
    names = {(re.sub(r"[-_.]+", "-", each.name).lower(), each.version) for each in found}
    return hash_of(sorted(map(list, names)))
