"""The weights files of a coordinator's run folder: the hash of each vector, and the tail average.

What they show is for ``weights`` to judge. Imports plan, protocol, the files of a run folder and the
tail average that the coordinator takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.audit.recount.run_files import HeldRound, Place, read_rounds, reading
from shared.contract.plan import Plan
from shared.contract.protocol import vector_sha256
from shared.contract.stages import GradientStage
from shared.contract.vector_file import open_vectors
from shared.train.aggregate import tail_average


@dataclass(frozen=True)
class RoundWeights:
    """The vector of a committed round: its own hash, and what ``state.json`` says of it."""

    sha256: str
    stated_sha256: str
    plan_sha256: str


@dataclass(frozen=True)
class HeldAverage:
    """The tail average: the file's own hash, and what it says of itself."""

    sha256: str
    stated_sha256: str


@dataclass(frozen=True)
class Tail:
    """The last rounds that a release averages, and the hash of their mean, taken again."""

    rounds: tuple[int, int]
    mean_sha256: str


@dataclass(frozen=True)
class HeldWeights:
    """Weights by stage and round; neither average nor tail where training is not finished."""

    rounds: Mapping[Place, RoundWeights]
    average: HeldAverage | None
    tail: Tail | None


def read_weights(run_folder: Path, plan: Plan) -> HeldWeights:
    """Hash every weights file of a run folder, one vector in memory at a time.

    Raises:
        AuditError: a file is damaged or missing beside another.
    """
    held = read_rounds(run_folder)
    rounds = {
        place: RoundWeights(
            sha256=vector_sha256(each.state().vector),
            stated_sha256=each.stated_sha256,
            plan_sha256=each.plan_sha256,
        )
        for place, each in held.items()
    }
    path = run_folder / "averaged.safetensors"
    return HeldWeights(rounds, _read_average(path) if path.exists() else None, _tail(held, plan))


def _read_average(path: Path) -> HeldAverage:
    with reading(path):
        stored = open_vectors(path)
        weights, stated = stored.vectors["weights"], stored.text["weights_sha256"]
    return HeldAverage(vector_sha256(weights), stated)


def _tail(held: Mapping[Place, HeldRound], plan: Plan) -> Tail | None:
    """The mean that a finished training must release; None where its rounds are not all there."""
    stage = plan.trained
    if stage is None:
        return None
    n_averaged = stage.strategy.n_averaged(stage.rounds) if isinstance(stage, GradientStage) else 1
    first = stage.rounds - n_averaged + 1
    places = [(stage.name, number) for number in range(first, stage.rounds + 1)]
    if not held.keys() >= set(places):
        return None
    vectors = [held[place].state().vector for place in places]
    if len({vector.size for vector in vectors}) > 1:
        return None
    return Tail((first, stage.rounds), vector_sha256(tail_average(vectors)))
