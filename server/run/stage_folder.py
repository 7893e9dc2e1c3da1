"""One stage of a run on disk: its committed states, and its sites' replies.

    <run>/rounds/STAGE/0000/         the state before the first round; 0001/ … one folder per round
        state.safetensors            the public vector [d], and what the next advance alone needs
        state.json                   contributions, missing sites with reasons, the vector's hash
    <run>/replies/STAGE/0001/SITE.safetensors   journal: a reply as it arrived, accepted or rejected

A round is committed by renaming a finished folder. Imports the journal and the vector file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from server.run.journal import Journal
from shared.contract.plan import Plan
from shared.contract.protocol import Vector, vector_sha256
from shared.contract.stages import Stage
from shared.contract.vector_file import open_vectors, write_vectors
from shared.errors import RunError
from shared.machine.files import sync_folder, write_atomic
from shared.stages.stage_sum import StageState

RUN_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """A site's share in a round: its renormalised weight, its total's hash, its ledger head."""

    site: str
    weight: float
    total_sha256: str
    ledger_head: str


@dataclass(frozen=True, kw_only=True)
class RoundState:
    """A stage after a round: its state, who contributed, and why others are missing."""

    state: StageState
    contributions: tuple[Contribution, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def round(self) -> int:
        """How many rounds are done."""
        return self.state.round

    @property
    def vector(self) -> Vector:
        """The public vector [d]."""
        return self.state.vector


class StageFolder:
    """One stage's part of a run's folder.

    Args:
        folder: the run's folder.
        plan: the run's plan.
        stage: one of its stages.
    """

    def __init__(self, folder: Path, plan: Plan, stage: Stage) -> None:
        self._folder = folder
        self._plan = plan
        self.stage = stage

    def journal(self, length: int) -> Journal:
        """The replies journal of totals [m] of ``length``, see ``server.run.journal``."""
        sites = tuple(entry.site for entry in self._plan.asked(self.stage))
        return Journal(self._folder / "replies" / self.stage.name, sites=sites, length=length)

    def round_folder(self, number: int) -> Path:
        """Folder of a committed round."""
        return self._folder / "rounds" / self.stage.name / f"{number:04d}"

    def last_committed(self) -> RoundState:
        """The state to go on from."""
        rounds = self._folder / "rounds" / self.stage.name
        return self.committed(max(int(entry.name) for entry in rounds.iterdir() if _is_round(entry)))

    def committed(self, number: int) -> RoundState:
        """A committed round.

        Raises:
            RunError: it is not there, or is damaged.
        """
        state = self._state(number)
        vectors = dict(open_vectors(self.round_folder(number) / "state.safetensors").vectors)
        vector = vectors.pop("vector").copy()
        if vector_sha256(vector) != state["vector_sha256"]:
            raise RunError(
                "damaged-file",
                f"the state of round {number} differs from its hash",
                hint="delete this round's folder and resume from the one before",
            )
        memory = {name: vector.astype(np.float64) for name, vector in vectors.items()}
        return RoundState(
            state=StageState(round=number, vector=vector, memory=memory),
            contributions=tuple(Contribution(**entry) for entry in state["contributions"]),
            missing=state["missing"],
        )

    def missing(self, number: int) -> dict[str, str]:
        """Sites without an accepted total in a committed round, with the codes of why.

        Raises:
            RunError: the round is not there, or is damaged.
        """
        return dict(self._state(number)["missing"])

    def committed_vector(self, number: int) -> Vector:
        """The public vector [d] of a committed round as a memory map."""
        return open_vectors(self.round_folder(number) / "state.safetensors").vectors["vector"]

    def commit(self, state: RoundState) -> None:
        """Make a round final: written beside, flushed, renamed."""
        final = self.round_folder(state.round)
        part = final.with_name(f".{final.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_vectors(
            part / "state.safetensors",
            {"vector": state.vector, **state.state.memory},
            text={"round": str(state.round)},
            is_durable=True,
        )
        content = {
            "version": RUN_VERSION,
            "round": state.round,
            "plan_sha256": self._plan.sha256,
            "vector_sha256": vector_sha256(state.vector),
            "contributions": [asdict(entry) for entry in state.contributions],
            "missing": dict(state.missing),
        }
        write_atomic(part / "state.json", json.dumps(content, indent=1).encode())
        part.rename(final)
        sync_folder(final.parent)

    def _state(self, number: int) -> dict[str, Any]:
        try:
            state = json.loads((self.round_folder(number) / "state.json").read_bytes())
        except (OSError, ValueError):
            raise RunError("no-such-round", f"round {number} was not committed") from None
        require_version(state.get("version"), "round")
        return dict(state)


def require_version(version: object, what: str) -> None:
    """Refuse a file of another format.

    Raises:
        RunError: the version is not this program's.
    """
    if version != RUN_VERSION:
        raise RunError(
            "unknown-version",
            f"{what} format version must be {RUN_VERSION}, not {version!r}",
            hint="use the release of OsteoFed that wrote this run",
        )


def _is_round(entry: Path) -> bool:
    return entry.name.isdigit()
