"""What the installed code answers, tried by force: each noised stage of the plan, on public patients.

The very call that a hospital makes (``StageSum.answer``) is made with nobody, when all that comes is
noise and its size is known number by number; with each public patient in and out under the same noise,
when the difference must be that patient's own row; and beyond the bound of a change. So are seen faults
that a run hides behind what its patients add, and those that spare the canaries: here patients
themselves write on the model. Imports the stages, noise and the statistic of least noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import torch

from shared.audit.attack.company import unequal_patients
from shared.audit.finding import Finding
from shared.audit.least_noise import NONE, Floats, Residual, of_halves, residual
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.contract.stages import DescriptionStage, GradientStage, MeasureStage, Stage
from shared.measures.scored import ReadsBone
from shared.privacy.noise import DrawNormals, NoiseStream
from shared.stages.description import FirstExams
from shared.stages.kinds import sum_of
from shared.stages.measure import measure_of
from shared.stages.stage_sum import StageSum
from shared.train.canaries import AuditRegister
from shared.train.patients import PatientBatch

CODE = "installed code"
NOISE = "With nobody in it, each number of a total is fresh noise of the promised size."
MOVES = "A patient moves a stage's total by that patient's own row, of at most its bound."
CUT = "A change of the weights is cut to the plan's bound before it leaves."
REFUTED_FROM = 6.0
_REPEATS, _FEW = 64, 8
_MANY_NUMBERS = 20_000  # from here on a number is not judged alone, only its part
_PROBES = 64  # numbers of a register beside the model
_SEED = 5
# Of a row, where float32 weights are subtracted; a lattice needs none.
_ROUNDING = 1e-3
_LOUD = {"gradient": 10.0, "learner": 1e6}
_UNCUT = 1e12
_BLIND_TO = (
    "Other states and patients than these, and another processor. It tries the code that is installed "
    "here; that a hospital runs the same is said by its signature alone."
)
Rows = Sequence[int]


@dataclass(frozen=True)
class Tried:
    """One stage of the plan with the patients that it is tried on."""

    plan: Plan
    stage: Stage
    encoder_file: Path | None
    patients: PatientBatch

    @property
    def declared_patients(self) -> int:
        """Of a site that is asked."""
        return self.plan.asked(self.stage)[0].declared_patients

    def sum(self, **changes: object) -> StageSum:
        """The stage's sum with other settings of its own."""
        changed = self.stage.model_copy(update=changes)
        return sum_of(self.plan, changed, encoder_file=self.encoder_file)

    def register(self) -> AuditRegister | None:
        """Canaries that all stayed out, where the stage has any."""
        has_canaries = isinstance(self.stage, GradientStage) and self.stage.canaries > 0
        return AuditRegister(np.zeros(_PROBES, dtype=bool)) if has_canaries else None

    def of(self, rows: Rows) -> PatientBatch | FirstExams:
        """Some of the patients in the form that the stage reads."""
        batch = self.patients.select(list(rows))
        if not isinstance(self.stage, DescriptionStage):
            return batch
        first = (batch.fields[:, 0], batch.field_mask[:, 0], batch.target[:, 0])
        fields, mask, target = (each.numpy() for each in first)
        return FirstExams(fields.astype(np.float64), mask, target.astype(np.float64))

    def states(self, asked: StageSum) -> Iterator[tuple[int, Vector]]:
        """Rounds and states: where it starts, and what a hostile coordinator may send."""
        yield 1, asked.start().vector
        loud = _LOUD.get(self.stage.kind)
        if loud is not None:
            draw = np.random.default_rng(_SEED)
            for number in sorted({1, self.stage.rounds}):
                size = asked.state_length(number)
                vector = np.clip(
                    loud * draw.normal(size=size), -asked.state_largest, asked.state_largest
                )
                yield number, vector.astype(asked.state_kind)


def answer_findings(plan: Plan, encoder_file: Path | None = None) -> list[Finding]:
    """Whether the answers of the plan's noised stages are what the plan promises.

    Args:
        plan: of the run.
        encoder_file: as ``build_model`` takes it.
    """
    patients = unequal_patients(plan.settings)
    tried = [
        Tried(plan, stage, encoder_file, patients)
        for stage in plan.stages
        if stage.release_class == "dp" and not _reads_masks(plan, stage)
    ]
    findings = [_judge_noise(tried), _judge_moves(tried)] if tried else []
    changes = [
        each for each in tried if isinstance(each.stage, GradientStage) and each.stage.fold == "site"
    ]
    return findings + [_judge_cut(each) for each in changes]


def _reads_masks(plan: Plan, stage: Stage) -> bool:
    """Whether a stage reads masks of films, which public patients have not."""
    return isinstance(stage, MeasureStage) and isinstance(measure_of(plan.settings, stage), ReadsBone)


def _judge_noise(tried: Sequence[Tried]) -> Finding:
    """Whether answers without anybody are independent normals of the promised SD."""
    problems: list[str] = []
    n_numbers, furthest = 0, 0.0
    for each in tried:
        for what, z in _noise_of(each):
            furthest = max(furthest, abs(z))
            if not abs(z) <= REFUTED_FROM:
                problems.append(f"{what} of {each.stage.name}: z = {z:.1f}")
            n_numbers += 1
    return _finding(
        NOISE,
        problems,
        holds=f"{n_numbers} statistics of {len(tried)} stages, the furthest z {furthest:.1f}",
        figures={"stages": len(tried), "statistics": n_numbers, "furthest_z": round(furthest, 2)},
    )


def _noise_of(each: Tried) -> Iterator[tuple[str, float]]:
    """Statistics of a stage's answers with nobody, in promised SDs."""
    free = {"update_norm_max": _UNCUT} if isinstance(each.stage, GradientStage) else {}
    asked = each.sum(**free)
    promised = asked.promised(1, declared_patients=each.declared_patients)
    length = asked.bound(1).length
    n_repeats = _REPEATS if length <= _MANY_NUMBERS else _FEW
    draws = np.array(
        [_answer(each, asked, [], NoiseStream(), register=each.register()) for _ in range(n_repeats)]
    )
    draws /= promised.sd  # [k, m]
    for name, part in promised.parts.items():
        yield f"the size of {name}", _size_z(float((draws[:, part] ** 2).sum()), draws[:, part].size)
    if length <= _MANY_NUMBERS:
        sizes = [_size_z(float(square), len(draws)) for square in (draws**2).sum(axis=0)]
        yield "the size of one number", max(sizes, key=abs)
    for what, found in _repeats_of(draws, promised.parts.values()):
        yield what, min(found.z, 0.0)


def _repeats_of(draws: Floats, parts: Iterable[slice]) -> Iterator[tuple[str, Residual]]:
    """What is left of draws [k, m] when other draws are taken off them."""
    slices = list(parts)
    pairs = (residual(later, earlier) for earlier, later in combinations(draws, 2))
    yield "two answers", min(pairs, key=lambda found: found.z)
    halves = neighbours = between = NONE
    for draw in draws:
        halves += of_halves(draw)
        neighbours += residual(draw[1:], draw[:-1])
        for first, second in pairwise(slices):
            n = min(first.stop - first.start, second.stop - second.start)
            between += residual(draw[second][:n], draw[first][:n])
    yield "both halves", halves
    yield "neighbours", neighbours
    yield "neighbouring parts", between


def _size_z(square: float, n: int) -> float:
    """z of a χ² of ``n`` degrees, on either side (Wilson & Hilferty 1931)."""
    spread = 2.0 / (9.0 * n)
    return float((np.cbrt(square / n) - (1.0 - spread)) / np.sqrt(spread))


def _judge_moves(tried: Sequence[Tried]) -> Finding:
    """Whether each patient moves a total by what that patient alone does."""
    problems: list[str] = []
    n_tried, longest = 0, 0.0
    for each in tried:
        differ, moved, n = _movements(each)
        n_tried, longest = n_tried + n, max(longest, moved)
        if differ or moved > 1.0 + _ROUNDING:
            problems.append(
                f"in {each.stage.name} {differ} of {n} patients move the total by something else than "
                f"their row, at most by {moved:.4g} bounds"
            )
    return _finding(
        MOVES,
        problems,
        holds=f"{n_tried} public patients move totals of {len(tried)} stages by their own rows, at "
        f"most by {longest:.4g} bounds",
        figures={"patients": n_tried, "moved_bounds": round(longest, 6)},
    )


def _movements(each: Tried) -> tuple[int, float, int]:
    """How many patients move a total by another row than their own, the longest way, how many tried."""
    # One step of everybody that nothing cuts, of a length at which float32 tells rows apart.
    alone: dict[str, object] = {}
    if isinstance(each.stage, GradientStage):
        alone = {"local_steps": 1, "sample_rate": 1.0, "update_norm_max": _UNCUT, "local_tail": 0.0}
        alone["learning_rate"] = 1.0
    asked = each.sum(**alone)
    everybody, differ, longest, n = list(range(len(each.patients))), 0, 0.0, 0
    for number, vector in each.states(asked):
        promised = asked.promised(number, declared_patients=1)
        spacing = promised.spacing or _ROUNDING * promised.row

        def total(rows: Rows, number: int = number, vector: Vector = vector) -> Floats:
            return _answer(each, asked, rows, _same_noise(), number=number, vector=vector, declared=1)

        together, nobody = total(everybody), total([])
        for patient in everybody:
            moved = together - total([other for other in everybody if other != patient])
            own = total([patient]) - nobody
            is_own = float(np.linalg.norm(moved - own)) < spacing
            differ, n = differ + int(not is_own), n + 1
            way = max(float(np.linalg.norm(moved)), float(np.linalg.norm(own)))
            longest = max(longest, way / promised.row)
    return differ, longest, n


def _judge_cut(each: Tried) -> Finding:
    """Whether a change that is longer than the bound is cut to it."""
    asked = each.sum(update_norm_max=_UNCUT)
    everybody = list(range(len(each.patients)))
    long = float(np.linalg.norm(_answer(each, asked, everybody, _same_noise())))
    most = long / 8
    cut = float(np.linalg.norm(_answer(each, each.sum(update_norm_max=most), everybody, _same_noise())))
    is_cut = cut <= most * (1 + 1e-6)
    return _finding(
        CUT,
        [] if is_cut else [f"a change leaves with {cut / most:.4g} times the bound"],
        holds=f"a change of {long / most:.4g} times the bound leaves with {cut / most:.6g} of it",
        figures={"bounds": round(cut / most, 6)},
    )


def _answer(
    each: Tried,
    asked: StageSum,
    rows: Rows,
    draw_normals: DrawNormals,
    *,
    number: int = 1,
    vector: Vector | None = None,
    declared: int | None = None,
    register: AuditRegister | None = None,
) -> Floats:
    """A stage's answer [m] as a site makes it."""
    with np.errstate(all="ignore"):
        total = asked.answer(
            asked.start().vector if vector is None else vector,
            each.of(rows),
            round_number=number,
            declared_patients=declared or each.declared_patients,
            draw_normals=draw_normals,
            register=register,
        )
    return np.asarray(total, dtype=np.float64)


def _same_noise() -> DrawNormals:
    """Standard normals that are the same for every answer."""
    draw = torch.Generator().manual_seed(_SEED)
    return lambda n: torch.randn(n, generator=draw, dtype=torch.float64)


def _finding(
    claim: str, problems: Sequence[str], *, holds: str, figures: dict[str, float | int | str | None]
) -> Finding:
    return Finding(
        method="conformance",
        site=CODE,
        claim=claim,
        verdict="fail" if problems else "pass",
        because="; ".join(problems[:3]) or holds,
        figures=figures,
        blind_to=_BLIND_TO,
    )
