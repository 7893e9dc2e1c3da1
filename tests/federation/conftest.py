"""Hospitals with films are ingested once; each test file has a copy of its own."""

from __future__ import annotations

import pytest
from film_hospitals import Hospitals, found_hospitals


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return found_hospitals(tmp_path_factory.mktemp("hospitals") / "federation")


@pytest.fixture(scope="module")
def hospitals(ingested: Hospitals, tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return ingested.copy(tmp_path_factory.mktemp("copied") / "federation")
