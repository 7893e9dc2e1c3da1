"""Committed rounds computed again, from the state before and the totals that the sites signed.

The run's own code adds and advances (``shared.stages``). Weights that gradients train are added in
float64 in roster order, one element after the other, with no sum that a processor could take in another
order: they must follow bit for bit, on any machine. A learner solves linear equations, which another
processor rounds otherwise: its numbers must agree to 1e-6 of the largest. Imports the kinds of stages,
plan and the files of a run folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.audit.recount.recounted import place_of
from shared.audit.recount.run_files import (
    MEASURED,
    HeldRound,
    Place,
    read_reply,
    read_rounds,
)
from shared.contract.plan import Plan
from shared.contract.protocol import SumReply, Vector, signed_bytes, vector_sha256
from shared.contract.stages import GradientStage, Stage
from shared.errors import OsteoFedError
from shared.signing.keys import verify
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageState, StageSum
from shared.train.aggregate import renormalised

# Of the largest number of a state: linear algebra on another machine, amplified a million times.
_LEARNERS_AGREE = 1e-6


@dataclass(frozen=True)
class ReplayedRound:
    """A committed round: the sites whose totals it says it used, and what does not follow."""

    place: Place
    sites: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Replay:
    """All committed rounds of a run computed again; ``because`` says why some could not be."""

    rounds: tuple[ReplayedRound, ...]
    because: str = ""


def sums_of(run_folder: Path, plan: Plan) -> dict[str, StageSum]:
    """The sum of each stage of a plan that can be built from a run folder, by the stage's name."""
    encoder = run_folder / "encoder.safetensors" if plan.encoder_sha256 else None
    sums = {}
    for stage in plan.stages:
        with suppress(OsteoFedError):
            sums[stage.name] = sum_of(plan, stage, encoder_file=encoder)
    return sums


def replay_run(run_folder: Path, plan: Plan) -> Replay:
    """Compute every committed round of a run folder again.

    Args:
        run_folder: with ``rounds/``, ``replies/`` and, where a stage learns in it, the encoder.
        plan: read with the coordinator's key.

    Raises:
        AuditError: a file of the run folder is damaged.
    """
    held = read_rounds(run_folder)
    encoder = run_folder / "encoder.safetensors" if plan.encoder_sha256 else None
    replayed: list[ReplayedRound] = []
    for stage in plan.stages:
        committed = {number: each for (name, number), each in held.items() if name == stage.name}
        if not committed:
            continue
        try:
            asked = sum_of(plan, stage, encoder_file=encoder)
        except OsteoFedError as error:
            return Replay(tuple(replayed), because=f"stage {stage.name} cannot be built: {error.fact}")
        replayed += _StageReplay(run_folder, plan, stage, asked, committed).rounds()
    return Replay(tuple(replayed))


@dataclass(frozen=True)
class _StageReplay:
    """One stage of a run folder, with the sum that its plan asks for."""

    run_folder: Path
    plan: Plan
    stage: Stage
    asked: StageSum
    committed: Mapping[int, HeldRound]

    def rounds(self) -> Iterator[ReplayedRound]:
        """Each committed round but the first state, in order."""
        for number, after in self.committed.items():
            if number > 0:
                sites = tuple(part.site for part in after.contributions)
                yield ReplayedRound(after.place, sites, tuple(self._problems(number, after)))

    def _problems(self, number: int, after: HeldRound) -> list[str]:
        where = place_of(self.stage.name, number)
        if number > self.stage.rounds:
            return [f"{where} is committed, the plan has {self.stage.rounds} rounds"]
        if number - 1 not in self.committed:
            return [f"{where} is committed, the round before it is not held"]
        before = self.committed[number - 1].state()
        if number == 1 and not self._is_first(before):
            return [f"{where} starts from another state than the plan's first"]
        accepted = self._accepted(number)
        problems = self._contribution_problems(after, accepted)
        problems += [
            f"{where}: the total of {site} {why}"
            for site, reply in accepted.items()
            if (why := self._misfit(number, site, reply, before))
        ]
        if problems or self._follows(before, accepted, after.state()):
            return problems
        return [f"{where} does not follow from the state before and its totals"]

    def _is_first(self, state: StageState) -> bool:
        """Whether a state is where the plan says that the stage starts."""
        trained, plan = self.plan.trained, self.plan
        is_trained = trained is not None and trained.name == self.stage.name
        start = plan.initial_weights_sha256 if is_trained else vector_sha256(self.asked.start().vector)
        return vector_sha256(state.vector) == start and not state.memory

    def _accepted(self, number: int) -> dict[str, SumReply]:
        """The journalled replies that were accepted, in roster order."""
        folder = self.run_folder / "replies" / self.stage.name / f"{number:04d}"
        paths = {
            entry.site: folder / f"{entry.site}.safetensors" for entry in self.plan.asked(self.stage)
        }
        read = {site: read_reply(path) for site, path in paths.items() if path.exists()}
        return {site: reply for site, reply in read.items() if reply is not None}

    def _contribution_problems(self, after: HeldRound, accepted: Mapping[str, SumReply]) -> list[str]:
        """What a round says of its contributions, beside the journal."""
        where, parts = place_of(*after.place), {part.site: part for part in after.contributions}
        problems = [
            f"{where} leaves out the accepted total of {site}" for site in accepted if site not in parts
        ]
        problems += [
            f"{where} was committed with a total of {site} that is not held"
            for site in parts
            if site not in accepted
        ]
        problems += [
            f"{where} was committed with another total of {site} than the one held"
            for site, reply in accepted.items()
            if site in parts and vector_sha256(reply.total) != parts[site].total_sha256
        ]
        if problems:
            return problems
        weights = {site: self.plan.entry(site).weight for site in accepted}
        shares = renormalised(tuple(weights.values())) if any(weights.values()) else ()
        stated = [(part.site, part.weight) for part in after.contributions]
        if stated == list(zip(weights, shares, strict=False)):
            return []
        return [f"{where} names other shares of its sites, or another order, than the plan's"]

    def _misfit(self, number: int, site: str, reply: SumReply, before: StageState) -> str:
        """Why no honest coordinator can have accepted a journalled total; empty if it can."""
        named = (reply.plan_sha256, reply.stage, reply.round, reply.site, reply.status)
        if named != (self.plan.sha256, self.stage.name, number, site, MEASURED):
            return "is of another plan, round or site"
        if not verify(self.plan.entry(site).public_key, signed_bytes(reply), reply.signature):
            return "is not signed by the key on the roster"
        if reply.vector_sha256 != vector_sha256(before.vector):
            return "was made from another state than the one held of the round before"
        bound = self.asked.bound(number)
        if reply.total.shape != (bound.length,) or reply.total.dtype != np.dtype(bound.kind):
            return f"is not {bound.length} numbers of {bound.kind}"
        return ""

    def _follows(self, before: StageState, accepted: Mapping[str, SumReply], after: StageState) -> bool:
        """Whether the committed state is what ``advance`` makes."""
        totals = [reply.total for reply in accepted.values()]
        try:
            with np.errstate(all="ignore"):
                made = self.asked.advance(
                    before, totals, sites=[self.plan.entry(site) for site in accepted]
                )
        except (OsteoFedError, ValueError, KeyError, IndexError):  # a state of another form
            return False
        ours, theirs = _vectors(made), _vectors(after)
        tolerance = 0.0 if isinstance(self.stage, GradientStage) else _LEARNERS_AGREE
        return ours.keys() == theirs.keys() and all(
            _agree(vector, theirs[name], tolerance=tolerance) for name, vector in ours.items()
        )


def _vectors(state: StageState) -> dict[str, Vector]:
    return {"vector": state.vector, **state.memory}


def _agree(ours: Vector, theirs: Vector, *, tolerance: float) -> bool:
    """Whether two vectors [d] are of one form and differ by at most a share of the largest number."""
    if vector_sha256(ours) == vector_sha256(theirs):
        return True
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    largest = float(np.abs(ours).max(initial=0.0))
    return tolerance > 0 and bool(np.abs(ours - theirs).max(initial=0.0) <= tolerance * largest)
