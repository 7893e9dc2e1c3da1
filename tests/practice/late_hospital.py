"""A hospital that enrols when a release is there: made by the commands that a person types."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result
from practice_commands import Coordinator
from table_federation import HERE, write_table
from typer.testing import CliRunner

from client.command.app import app

BY = "Ada Lovelace"
SCHEMA = HERE / "cohort.yaml"


@dataclass(frozen=True)
class Hospital:
    """A site's folder, whose commands are typed."""

    folder: Path

    def type(self, *words: str) -> Result:
        """Type a command for this folder."""
        return CliRunner().invoke(app, [*words, "--folder", str(self.folder)])

    def told(self, *words: str) -> dict[str, object]:
        """What a command tells a program."""
        return dict(json.loads(self.type(*words, "--json").stdout))

    def must(self, *words: str) -> str:
        """What a command that has to succeed prints."""
        done = self.type(*words)
        if done.exit_code:
            raise ValueError(done.output)
        return done.output


def new_hospital(folder: Path, name: str = "kay") -> Hospital:
    """A fresh site folder, in no federation."""
    own = Hospital(folder)
    own.must("init", name, "--declared-patients", "120")
    return own


def enrol_late(own: Coordinator, folder: Path, name: str = "kay") -> Hospital:
    """A hospital that enters a federation as external, with no cohort yet."""
    hospital = new_hospital(folder, name)
    entered = own.enrol(folder / "join-request.json", "--role", "external")
    answer = Path(str(entered["give to the site"]))
    key = json.loads(answer.read_bytes())["coordinator_key"]
    hospital.must("join", str(answer), "--coordinator-key", key)
    return hospital


def ingest_rows(hospital: Hospital, rows: range) -> None:
    """Freeze rows of the table as the hospital's cohort."""
    archive = hospital.folder.parent / f"{hospital.folder.name}-{rows.start}"
    write_table(archive / "clinical.csv", rows)
    hospital.must("ingest", str(archive), "--schema", str(SCHEMA))


def short_code(plan: Path) -> str:
    """What a person types who approves a plan's or a sweep's file."""
    return str(json.loads(plan.read_bytes())["sha256"][:8])


def approve_plan(hospital: Hospital, plan: Path) -> None:
    """A person there says yes."""
    hospital.must("approve", str(plan), "--by", BY, "--code", short_code(plan))
