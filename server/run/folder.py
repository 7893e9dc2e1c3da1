"""The run folder: everything a run needs to go on after a crash, and everything it must show later.

    <home>/runs/<run>/
        run.json                     format version, run name, plan hash
        plan.json                    the signed plan
        encoder.safetensors          the frozen encoder's weights, when the plan has one
        encoders/                    weights of the encoders that its features name, by hash
        rounds/STAGE/, replies/STAGE/   a stage's states and replies (``server.run.stage_folder``)
        averaged.safetensors         the tail average, from which the release is made
        release/                     the release (``shared.contract.release``), in it lock.json
        events.jsonl                 round, site, code
    <home>/keys/coordinator.pem

The format is versioned and an unknown version is refused. Imports no Flower.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.run.journal import RoundJournal
from server.run.stage_folder import RUN_VERSION, RoundState, StageFolder, require_version
from shared.contract.plan import ENCODER_FILE, Plan, read_plan
from shared.contract.protocol import Vector, vector_sha256
from shared.contract.vector_file import open_vectors, write_vectors
from shared.errors import RunError
from shared.machine.files import append_line, write_atomic
from shared.signing.canonical import hash_file
from shared.stages.stage_sum import StageState


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to a site in a round, as a code. ``site`` is empty for the run itself."""

    round: int
    site: str
    code: str


class RunStore:
    """One run's folder, opened."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan

    def stage(self, name: str) -> StageFolder:
        """The folder of one of the plan's stages.

        Raises:
            PlanError: the plan has none of that name.
        """
        return StageFolder(self.folder, self.plan, self.plan.stage(name))

    @property
    def training(self) -> StageFolder:
        """The folder of the stage that trains the release.

        Raises:
            RunError: the plan only measures.
        """
        if self.plan.trained is None:
            raise RunError(
                "no-training",
                f"the plan of run {self.plan.run} trains nothing",
                hint="`osteofed-coordinator validate RUN STAGE` plays its stages",
            )
        return StageFolder(self.folder, self.plan, self.plan.trained)

    @property
    def keys(self) -> dict[str, str]:
        """Public key by site, as the plan names them."""
        return {entry.site: entry.public_key for entry in self.plan.roster}

    @property
    def home(self) -> Path:
        """The coordinator's home, two levels above a run's folder."""
        return self.folder.parent.parent

    @property
    def encoder_file(self) -> Path:
        """Where the own encoder's weights lie."""
        return self.folder / ENCODER_FILE

    @property
    def encoders(self) -> dict[str, Path]:
        """Where the weights of every encoder lie, by their hash."""
        return {sha256: self.folder / place for sha256, place in self.plan.encoder_places.items()}

    @property
    def release_folder(self) -> Path:
        """Where the run's release is written."""
        return self.folder / "release"

    @property
    def lock_file(self) -> Path:
        """Where the release's lock is written."""
        return self.release_folder / "lock.json"

    def write_averaged(self, weights: Vector) -> None:
        """Keep the tail average, from which a release is made."""
        write_vectors(
            self.folder / "averaged.safetensors",
            {"weights": weights},
            text={"plan_sha256": self.plan.sha256, "weights_sha256": vector_sha256(weights)},
            is_durable=True,
        )

    def averaged(self) -> Vector:
        """The tail average of a finished run.

        Raises:
            RunError: the run is not finished.
        """
        path = self.folder / "averaged.safetensors"
        if not path.exists():
            raise RunError(
                "not-finished",
                f"run {self.plan.run} has committed {self.training.last_committed().round} rounds "
                f"of {self.training.stage.rounds}",
                hint="`osteofed-coordinator resume` goes on with it",
            )
        return open_vectors(path).vectors["weights"].copy()

    def results(self, stage: str) -> RoundJournal:
        """What sites answered to a stage that measures: accepted totals, and codes of the others."""
        return self.stage(stage).journal(0).read(1)

    def log(self, event: Event) -> None:
        """Append to the events log: a code, never a text that a site sent.

        A line that a crash tore is cut off first; it would take this one with it.
        """
        line = {"utc": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(event)}
        append_line(self.folder / "events.jsonl", json.dumps(line).encode() + b"\n", mode=0o644)

    def events(self) -> list[Event]:
        """The events so far; a line torn by a crash is left out."""
        return [
            Event(round=line["round"], site=line["site"], code=line["code"]) for line in self._lines()
        ]

    def times(self) -> tuple[datetime, dict[int, datetime]]:
        """When the first event and each committed round were logged, by this coordinator's clock."""
        logged = [(line, datetime.fromisoformat(line["utc"])) for line in self._lines()]
        committed = {
            int(line["round"]): stamp for line, stamp in logged if line["code"] == "round-committed"
        }
        written = datetime.fromisoformat(self.plan.written_utc)
        return min((stamp for _, stamp in logged), default=written), committed

    def pause(self) -> None:
        """Ask the run to stop, resumably, before its next round."""
        write_atomic(self.folder / "pause", b"")

    def forget_pause(self) -> None:
        """Take back a request to pause that nobody was left to obey."""
        (self.folder / "pause").unlink(missing_ok=True)

    def require_not_paused(self) -> None:
        """Stop here when somebody asked for it.

        Raises:
            RunError: the run was paused; the request is used up.
        """
        if (self.folder / "pause").exists():
            self.forget_pause()
            raise RunError(
                "paused",
                f"run {self.plan.run} was paused after round {self.training.last_committed().round}",
                hint="`osteofed-coordinator resume` goes on with it",
            )

    def _lines(self) -> Iterator[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def prepare_run(
    folder: Path, *, initial_state: Vector | None, encoders: Iterable[Path] = ()
) -> RunStore:
    """Make a folder that holds a signed plan into a run: each stage's first state, the encoders.

    A run that exists already is opened as it is.

    Raises:
        PlanError: there is no plan, or it is damaged.
        RunError: weights differ from the plan's hashes.
    """
    if (folder / "run.json").exists():
        return open_run(folder)
    plan = read_plan(folder / "plan.json")
    if initial_state is not None and vector_sha256(initial_state) != plan.initial_weights_sha256:
        raise RunError("wrong-weights", "initial weights differ from the plan's hash")
    store, files = RunStore(folder, plan), {hash_file(path): path for path in encoders}
    if set(files) != set(store.encoders):
        raise RunError("wrong-encoder", "the encoder's weights differ from the plan's hash")
    for sha256, place in store.encoders.items():
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(files[sha256], place)
    if initial_state is not None and not store.training.round_folder(0).exists():
        start = StageState(round=0, vector=initial_state)
        store.training.commit(RoundState(state=start))
    content = {"version": RUN_VERSION, "run": plan.run, "plan_sha256": plan.sha256}
    write_atomic(folder / "run.json", json.dumps(content, indent=1).encode())
    return store


def open_run(folder: Path) -> RunStore:
    """Open a run's folder.

    Raises:
        RunError: no run is there, of another version, or its plan was exchanged.
        PlanError: the plan is damaged.
    """
    if (folder / "plan.json").exists() and not (folder / "run.json").exists():
        raise RunError(
            "not-launched",
            f"run {folder.name} has a plan and was not launched yet",
            hint="`osteofed-coordinator launch` begins it, or `validate` where it only measures",
        )
    try:
        content = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        raise RunError(
            "not-a-run",
            f"{folder.name} is not a run folder",
            hint="`osteofed-coordinator plan` writes one",
        ) from None
    require_version(content.get("version"), "run")
    plan = read_plan(folder / "plan.json")
    if plan.sha256 != content.get("plan_sha256"):
        raise RunError("wrong-plan", f"the plan in {folder.name} is not the one it was made with")
    return RunStore(folder, plan)
