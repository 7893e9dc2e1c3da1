"""The run folder: everything a run needs to go on after a crash, and everything it must show later.

    <home>/runs/<run>/
        run.json                     format version, run name, plan hash
        plan.json                    the signed plan
        encoder.safetensors          the frozen encoder's weights, when the plan has one
        rounds/0000/                 initial weights; rounds/0001/ … one folder per committed round
            weights.safetensors      weights [p], and the rule's own vectors
            state.json               contributions, missing sites with reasons, weights hash
        replies/0001/SITE.safetensors   journal: a reply as it arrived, accepted or rejected
        evaluations/KIND/SITE.json   a site's result or refusal
        averaged.safetensors         the tail average, from which the release is made
        release/                     the release (``shared.contract.release``), in it lock.json
        events.jsonl                 round, site, code
    <home>/keys/coordinator.pem

A round is committed by renaming a finished folder. The format is versioned and an
unknown version is refused. Imports no Flower.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from server.run.journal import Journal
from server.run.vector_file import open_vectors, write_vectors
from shared.contract.plan import Plan, read_plan
from shared.contract.protocol import EvaluateReply, Vector, vector_sha256
from shared.errors import RunError
from shared.machine.files import sync_folder, write_atomic
from shared.signing.canonical import hash_file
from shared.train.aggregate import Block

RUN_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to a site in a round, as a code. ``site`` is empty for the run itself."""

    round: int
    site: str
    code: str


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """A site's share in a round: its renormalised weight, its update's hash, its ledger head."""

    site: str
    weight: float
    update_sha256: str
    ledger_head: str


@dataclass(frozen=True, kw_only=True)
class RoundState:
    """The run after a round.

    Shapes: ``weights`` [p] float32; ``memory`` the aggregation rule's own vectors [p] by name.
    """

    round: int
    weights: Vector
    memory: Mapping[str, Block] = field(default_factory=dict)
    contributions: tuple[Contribution, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


class RunStore:
    """One run's folder, opened."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan

    def journal(self, n_parameters: int) -> Journal:
        """The replies journal, see ``server.run.journal``."""
        sites = tuple(entry.site for entry in self.plan.sites("training"))
        return Journal(self.folder / "replies", sites=sites, n_parameters=n_parameters)

    @property
    def home(self) -> Path:
        """The coordinator's home, two levels above a run's folder."""
        return self.folder.parent.parent

    @property
    def encoder_file(self) -> Path:
        """Where the encoder's weights lie."""
        return self.folder / "encoder.safetensors"

    @property
    def release_folder(self) -> Path:
        """Where the run's release is written."""
        return self.folder / "release"

    @property
    def lock_file(self) -> Path:
        """Where the release's lock is written."""
        return self.release_folder / "lock.json"

    def round_folder(self, number: int) -> Path:
        """Folder of a committed round."""
        return self.folder / "rounds" / f"{number:04d}"

    def last_committed(self) -> RoundState:
        """The state to go on from."""
        rounds = self.folder / "rounds"
        return self.committed(max(int(entry.name) for entry in rounds.iterdir() if _is_round(entry)))

    def committed(self, number: int) -> RoundState:
        """A committed round.

        Raises:
            RunError: it is not there, or is damaged.
        """
        try:
            state = json.loads((self.round_folder(number) / "state.json").read_bytes())
        except (OSError, ValueError):
            raise RunError("no-such-round", f"round {number} was not committed") from None
        _require_version(state.get("version"), "round")
        vectors = dict(open_vectors(self.round_folder(number) / "weights.safetensors").vectors)
        weights = vectors.pop("weights").copy()
        if vector_sha256(weights) != state["weights_sha256"]:
            raise RunError(
                "damaged-file",
                f"weights of round {number} differ from their hash",
                hint="delete this round's folder and resume from the one before",
            )
        return RoundState(
            round=number,
            weights=weights,
            memory={name: vector.astype(np.float64) for name, vector in vectors.items()},
            contributions=tuple(Contribution(**entry) for entry in state["contributions"]),
            missing=state["missing"],
        )

    def committed_weights(self, number: int) -> Vector:
        """Weights [p] of a committed round as a memory map."""
        return open_vectors(self.round_folder(number) / "weights.safetensors").vectors["weights"]

    def commit(self, state: RoundState) -> None:
        """Make a round final: written beside, flushed, renamed."""
        final = self.round_folder(state.round)
        part = final.with_name(f".{final.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_vectors(
            part / "weights.safetensors",
            {"weights": state.weights, **state.memory},
            text={"round": str(state.round)},
            is_durable=True,
        )
        content = {
            "version": RUN_VERSION,
            "round": state.round,
            "plan_sha256": self.plan.sha256,
            "weights_sha256": vector_sha256(state.weights),
            "contributions": [asdict(entry) for entry in state.contributions],
            "missing": dict(state.missing),
        }
        write_atomic(part / "state.json", json.dumps(content, indent=1).encode())
        part.rename(final)
        sync_folder(final.parent)

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
                f"run {self.plan.run} has committed {self.last_committed().round} rounds "
                f"of {self.plan.settings.federation.rounds}",
                hint="`osteofed-coordinator resume` goes on with it",
            )
        return open_vectors(path).vectors["weights"].copy()

    def write_evaluation(self, reply: EvaluateReply | None, *, kind: str, site: str, code: str) -> None:
        """Keep a site's result, or the code with which it refused or was refused."""
        content: dict[str, object] = {"version": RUN_VERSION, "site": site, "kind": kind}
        if reply is None:
            content["refused"] = code
        else:
            content |= {
                entry.name: getattr(reply, entry.name)
                for entry in fields(reply)
                if entry.name != "table"
            }
            content["table"] = [float(value) for value in reply.table]
            content["table_dtype"] = str(reply.table.dtype)
        write_atomic(self._evaluation_file(kind, site), json.dumps(content, indent=1).encode())

    def evaluations(self, kind: str) -> dict[str, dict[str, object]]:
        """Results of an evaluation by site, in roster order; see ``write_evaluation``."""
        paths = {entry.site: self._evaluation_file(kind, entry.site) for entry in self.plan.roster}
        return {site: json.loads(path.read_bytes()) for site, path in paths.items() if path.exists()}

    def log(self, event: Event) -> None:
        """Append to the events log: a code, never a text that a site sent."""
        line = {"utc": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(event)}
        with (self.folder / "events.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")

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
        return min(stamp for _, stamp in logged), committed

    def pause(self) -> None:
        """Ask the run to stop, resumably, before its next round."""
        write_atomic(self.folder / "pause", b"")

    def require_not_paused(self) -> None:
        """Stop here when somebody asked for it.

        Raises:
            RunError: the run was paused; the request is used up.
        """
        if (self.folder / "pause").exists():
            (self.folder / "pause").unlink()
            raise RunError(
                "paused",
                f"run {self.plan.run} was paused after round {self.last_committed().round}",
                hint="`osteofed-coordinator resume` goes on with it",
            )

    def _lines(self) -> Iterator[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def _evaluation_file(self, kind: str, site: str) -> Path:
        return self.folder / "evaluations" / kind / f"{site}.json"


def prepare_run(folder: Path, *, initial_weights: Vector, encoder: Path | None = None) -> RunStore:
    """Make a folder that holds a signed plan into a run: initial weights [p] as round 0, encoder.

    A run that exists already is opened as it is.

    Raises:
        PlanError: there is no plan, or it is damaged.
        RunError: weights differ from the plan's hashes.
    """
    if (folder / "run.json").exists():
        return open_run(folder)
    plan = read_plan(folder / "plan.json")
    if vector_sha256(initial_weights) != plan.initial_weights_sha256:
        raise RunError("wrong-weights", "initial weights differ from the plan's hash")
    if (hash_file(encoder) if encoder else None) != plan.encoder_sha256:
        raise RunError("wrong-encoder", "the encoder's weights differ from the plan's hash")
    store = RunStore(folder, plan)
    if encoder is not None:
        shutil.copyfile(encoder, store.encoder_file)
    if not store.round_folder(0).exists():
        store.commit(RoundState(round=0, weights=np.ascontiguousarray(initial_weights, "<f4")))
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
            hint="`osteofed-coordinator launch` begins it",
        )
    try:
        content = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        raise RunError(
            "not-a-run",
            f"{folder.name} is not a run folder",
            hint="`osteofed-coordinator plan` writes one",
        ) from None
    _require_version(content.get("version"), "run")
    plan = read_plan(folder / "plan.json")
    if plan.sha256 != content.get("plan_sha256"):
        raise RunError("wrong-plan", f"the plan in {folder.name} is not the one it was made with")
    return RunStore(folder, plan)


def _require_version(version: object, what: str) -> None:
    if version != RUN_VERSION:
        raise RunError(
            "unknown-version",
            f"{what} format version must be {RUN_VERSION}, not {version!r}",
            hint="use the release of OsteoFed that wrote this run",
        )


def _is_round(entry: Path) -> bool:
    return entry.name.isdigit()
