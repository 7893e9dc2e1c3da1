"""What a coordinator's run folder holds, read: the replies of each site, and the committed rounds.

Reads and says when a file cannot be read; what the files show is for the claims to judge. Of a run
folder it reads ``replies/STAGE/ROUND/SITE.safetensors`` and ``rounds/STAGE/ROUND/``; vectors stay on
the disk until they are used. Imports the protocol, stage states and the vector file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.contract.payload import reply_of
from shared.contract.protocol import SumReply
from shared.contract.vector_file import open_vectors
from shared.errors import AuditError, RunError
from shared.stages.stage_sum import StageState

MEASURED = "measured"
# A stage by its name, and one of its rounds.
Place = tuple[str, int]


@dataclass(frozen=True)
class HeldReplies:
    """What the coordinator holds of one site: accepted replies by stage and round.

    ``aggregated`` maps a committed round to (total's hash, ledger head) of the site's contribution.
    """

    replies: Mapping[Place, SumReply]
    aggregated: Mapping[Place, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class HeldContribution:
    """A site's share in a committed round, as the coordinator wrote it down."""

    site: str
    weight: float
    total_sha256: str
    ledger_head: str


@dataclass(frozen=True, kw_only=True)
class HeldRound:
    """A committed round, 0 being the state before the first: where its state lies, and its record."""

    place: Place
    file: Path
    stated_sha256: str
    plan_sha256: str
    contributions: tuple[HeldContribution, ...]

    def state(self) -> StageState:
        """The stage's state after the round, its vectors mapped from the disk.

        Raises:
            AuditError: the file is damaged or missing.
        """
        with reading(self.file):
            vectors = dict(open_vectors(self.file).vectors)
            vector = vectors.pop("vector")
        memory = {name: each.astype(np.float64) for name, each in vectors.items()}
        return StageState(round=self.place[1], vector=vector, memory=memory)


def read_held(run_folder: Path, site: str) -> HeldReplies:
    """What a run folder holds of one site.

    Raises:
        AuditError: not a run folder, or a file in it is damaged.
    """
    if not (run_folder / "run.json").exists():
        raise AuditError(
            "not-a-run-folder",
            f"{run_folder.name} is not a run folder: run.json is missing",
            hint="name <coordinator's home>/runs/<run>",
        )
    replies = {
        place: reply
        for path in sorted((run_folder / "replies").glob(f"*/[0-9]*/{site}.safetensors"))
        for place, reply in [(_place_of(path), read_reply(path))]
        if reply is not None
    }
    aggregated = {
        place: (part.total_sha256, part.ledger_head)
        for place, held in read_rounds(run_folder).items()
        for part in held.contributions
        if part.site == site
    }
    return HeldReplies(replies, aggregated)


def read_reply(path: Path) -> SumReply | None:
    """A journalled reply, its total mapped from the disk; None for an answer that was rejected.

    Raises:
        AuditError: the file is damaged or missing.
    """
    with reading(path):
        stored = open_vectors(path)
        if stored.text["rejected"]:
            return None
        return reply_of(stored.text, stored.vectors["total"])


def read_rounds(run_folder: Path) -> dict[Place, HeldRound]:
    """The records of all committed rounds, by stage and rising round.

    Raises:
        AuditError: a record is damaged.
    """
    rounds = {}
    for path in sorted((run_folder / "rounds").glob("*/[0-9]*/state.json")):
        place = _place_of(path)
        with reading(path):
            content = json.loads(path.read_bytes())
            rounds[place] = HeldRound(
                place=place,
                file=path.with_name("state.safetensors"),
                stated_sha256=str(content["vector_sha256"]),
                plan_sha256=str(content["plan_sha256"]),
                contributions=tuple(HeldContribution(**part) for part in content["contributions"]),
            )
    return rounds


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file of a run folder is one error that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RunError) as error:
        raise AuditError(
            "damaged-run-folder",
            f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}",
            hint="ask the coordinator for the run folder again",
        ) from None


def _place_of(path: Path) -> Place:
    with reading(path):
        return path.parent.parent.name, int(path.parent.name)
