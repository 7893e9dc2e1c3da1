"""One federation over tables for the whole session; each test that changes it works on a copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from table_site import TableSites, copy_sites, found_table_sites


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """Two approved sites, to be looked at only."""
    return found_table_sites(tmp_path_factory.mktemp("made"))


@pytest.fixture
def sites(made: TableSites, tmp_path: Path) -> TableSites:
    """Two approved sites of this test's own."""
    return copy_sites(made, tmp_path / "federation")


@pytest.fixture(scope="session")
def made_described(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """Two sites that approved a plan with a description, to be looked at only."""
    return found_table_sites(
        tmp_path_factory.mktemp("described"),
        "privacy.epsilon=2",
        "validation.epsilon=2",
        "validation.description_epsilon=1",
    )


@pytest.fixture
def described(made_described: TableSites, tmp_path: Path) -> TableSites:
    """The same, of this test's own."""
    return copy_sites(made_described, tmp_path / "federation")
