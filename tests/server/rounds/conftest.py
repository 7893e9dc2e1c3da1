"""A practice run that has trained and been released, at sites that have a table to send."""

from __future__ import annotations

import json
from pathlib import Path

import practice_federation as practice
import pytest

from server.engines.local import run_local
from server.run.folder import RunStore


@pytest.fixture
def released(tmp_path: Path) -> tuple[RunStore, dict[str, Path]]:
    """Two required training sites, an external one, and a release; every site's cells are 1.5."""
    settings = practice.practice_settings(federation={"round_deadline_s": 1.0, "liveness_s": 0.3})
    store, folders = practice.found_federation(
        tmp_path, settings=settings, n_sites=2, n_external=1, is_required=True
    )
    run_local(store.folder, folders, client_app=practice.app)
    practice.release_of(store)
    for folder in folders.values():
        (folder / "table.json").write_text(json.dumps([1.5] * practice.N_CELLS))
    return store, folders
