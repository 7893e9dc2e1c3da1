"""What every test shares: hospitals whose secret is known, so that a test's splits never change.

A split goes by the site's secret. Of a real one, a hospital of twenty patients now and then holds none
out, and what a test says of its tables would be true on most days only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import client.site.folder
from client.site.linkage import Pseudonyms, create_pseudonym_key

# One thread of arithmetic in each process that a test starts, itself included: the suite has as many
# processes as the machine has cores, and threads of several would only wait for each other.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

# Folders whose files take minutes each come first: none is left to one process at the end.
_LONG = ("federation", "services", "house", "server/simulation", "server/experiments")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = [Path(__file__).parent / name for name in _LONG]
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in folders))


def create_known_key(path: Path) -> Pseudonyms:
    """A pseudonym key by the name of the site's folder, otherwise as ``create_pseudonym_key``."""
    create_pseudonym_key(path)
    key = hashlib.sha256(f"practice, {path.parents[1].name}".encode()).digest()
    path.write_bytes(key)
    return Pseudonyms(key)


@pytest.fixture(autouse=True, scope="session")
def _sites_have_known_secrets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.site.folder, "create_pseudonym_key", create_known_key)
        yield
