"""What every test shares: hospitals whose secret is known, so that a test's splits never change.

A split goes by the site's secret. Of a real one, a hospital of twenty patients now and then holds none
out, and what a test says of its tables would be true on most days only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import client.site.folder
from client.site.linkage import Pseudonyms, create_pseudonym_key


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
