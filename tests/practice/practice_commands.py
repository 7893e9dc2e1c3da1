"""A small federation over tables, up to the approved plan, for the coordinator's commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from table_federation import found_tables, write_table
from typer.testing import CliRunner

from server.command.app import app
from server.run.folder import Event, RunStore

ROWS = {"ash": range(180), "elm": range(180, 350), "hop": range(450, 569)}
FAST = ("federation.rounds=2", "federation.local_steps=1", "federation.learning_rate=0.5")


@dataclass(frozen=True)
class Coordinator:
    """A coordinator's home, and a folder of each site on this machine."""

    home: Path
    sites: dict[str, Path]
    run: str = "cytology"

    def type(self, *words: str) -> Result:
        """Type a command for this home."""
        return CliRunner().invoke(app, [*words, "--home", str(self.home)])

    def with_sites(self, *words: str) -> Result:
        """Type a command that reaches the sites' folders."""
        named = [part for folder in self.sites.values() for part in ("--site", str(folder))]
        return self.type(*words, *named)

    def told(self, *words: str) -> dict[str, object]:
        """What a command tells a program."""
        done = self.type(*words, "--json")
        return dict(json.loads(done.stdout))

    def enrol(self, request: Path, *words: str) -> dict[str, object]:
        """Enrol a site, whose key is told as it stands in its request."""
        key = json.loads(request.read_bytes())["public_key"]
        return self.told("enrol", str(request), "--site-key", key, *words)

    @contextmanager
    def typing_after_round(self, number: int, *words: str) -> Iterator[list[dict[str, object]]]:
        """Type a command while a run is played, once a round is committed; what it tells."""
        told: list[dict[str, object]] = []
        log = RunStore.log

        def log_and_type(store: RunStore, event: Event) -> None:
            log(store, event)
            if (event.code, event.round) == ("round-committed", number):
                told.append(self.told(*words))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunStore, "log", log_and_type)
            yield told


@pytest.fixture
def make_coordinator(tmp_path: Path) -> Callable[..., Coordinator]:
    """Founds a federation of two training sites and an external one."""

    def make(*overrides: str) -> Coordinator:
        for name, rows in ROWS.items():
            write_table(tmp_path / "archives" / name / "clinical.csv", rows)
        archives = {name: tmp_path / "archives" / name for name in ROWS}
        store, folders = found_tables(
            tmp_path, archives, external=["hop"], overrides=[*FAST, *overrides]
        )
        return Coordinator(store.folder.parent.parent, folders)

    return make
