"""A sweep's arms beside each other, and by how much the best of them flatters itself.

The arms are of the same patients and each figure has noise of its own, so the best of n tables is one
that was lucky too. Beside it stand the difference to the next best, and what the best of n equal arms
would seem better by. Imports results, comparison and wording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, Field
from scipy.special import ndtr

from server.report.compare import all_sites, with_variance
from server.report.plane import Interval, PlanePoint, draw_plane
from server.report.results import Results, ValidationKind
from server.report.terminal import TerminalTable
from server.report.wording import NOT_A_DEVICE, write_epsilon, write_figure, write_status, write_value
from shared.contract.plan import PredictedCost
from shared.contract.sweep import SignedSweep
from shared.machine.files import write_atomic
from shared.measures.bone import DELTA
from shared.measures.differences import difference_of_aucs
from shared.privacy.sweep_text import PAID, PAID_COLUMNS, paid_rows
from shared.strict import FROZEN
from shared.sums.estimate import Estimate

SWEEP_RESULTS_VERSION: Final = 1
TEMPLATE, PAGE, DATA = "sweep.html.j2", "sweep.html", "results.json"
_KINDS: tuple[ValidationKind, ...] = ("internal", "external")
# Of the integral of a distribution function: so many SDs to each side, in so many points.
_REACH_SD, _STEPS = 9.0, 10_001


class ArmFigures(BaseModel):
    """All sites together, of one arm and one kind of validation.

    Attributes:
        kind: of validation.
        status: as of a validation.
        n_patients: measured.
        auc: of the endpoint.
        sensitivity: at the operating point.
        specificity: at the operating point.
        bone: Δ bone − Δ random of the AUC; null: ``measure=bone`` was not asked.
    """

    model_config = FROZEN

    kind: ValidationKind
    status: str
    n_patients: Estimate | None = None
    auc: Estimate | None = None
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None
    bone: Estimate | None = None


class ArmResult(BaseModel):
    """One arm.

    Attributes:
        arm: its name.
        run: that played it.
        release_sha256: its release.
        training_epsilon: of the arm alone; null: no formal guarantee.
        figures: by kind of validation.
    """

    model_config = FROZEN

    arm: str
    run: str
    release_sha256: str
    training_epsilon: float | None
    figures: tuple[ArmFigures, ...]


class Best(BaseModel):
    """The arm with the largest AUC of one kind of validation, and what chance makes of a largest.

    Attributes:
        kind: of validation.
        arm: the best.
        next_best: the arm after it.
        n_arms: that show an AUC.
        difference: of the two AUCs as independent figures; of the same patients it is too wide.
        p: of no difference between these two, for arms that were named beforehand.
        above_mean: best AUC minus the mean of all arms.
        by_chance: what ``above_mean`` is expected to be where all arms are equal and their figures
            independent. Patients that all arms share move all figures alike, so it is less in truth.
    """

    model_config = FROZEN

    kind: ValidationKind
    arm: str
    next_best: str
    n_arms: int = Field(ge=2)
    difference: Estimate
    p: float | None
    above_mean: float
    by_chance: float


class SweepResults(BaseModel):
    """All that a finished sweep has to say.

    Attributes:
        version: of this file's format.
        name: of the sweep.
        sweep_sha256: hash of what was signed.
        endpoint: what the AUC is of.
        predicted: what all arms together cost a patient.
        arms: in the order in which they were played.
        best: by kind of validation; a kind of which fewer than two arms show an AUC is left out.
    """

    model_config = FROZEN

    version: Literal[1] = SWEEP_RESULTS_VERSION
    name: str
    sweep_sha256: str
    endpoint: str
    predicted: PredictedCost
    arms: tuple[ArmResult, ...] = Field(min_length=2)
    best: tuple[Best, ...]


def collect_sweep(signed: SignedSweep, runs: Sequence[Results]) -> SweepResults:
    """The arms beside each other.

    Args:
        signed: the sweep.
        runs: results of each arm's run, in the sweep's order.
    """
    arms = tuple(
        ArmResult(
            arm=arm.name,
            run=arm.run,
            release_sha256=run.release_sha256,
            training_epsilon=plan.predicted.training_epsilon,
            figures=tuple(_figures(run, kind) for kind in _KINDS),
        )
        for (arm, plan), run in zip(signed.arms, runs, strict=True)
    )
    return SweepResults(
        name=signed.sweep.name,
        sweep_sha256=signed.sweep.sha256,
        endpoint=f"{runs[0].task.endpoint} ({runs[0].task.endpoint_rule})",
        predicted=signed.sweep.predicted,
        arms=arms,
        best=tuple(best for kind in _KINDS if (best := find_best(kind, arms)) is not None),
    )


def _figures(run: Results, kind: ValidationKind) -> ArmFigures:
    row = all_sites(run, kind)
    if row is None or row.measures is None:
        return ArmFigures(kind=kind, status="missing" if row is None else write_status(row))
    measures = row.measures
    return ArmFigures(
        kind=kind,
        status=row.status,
        n_patients=measures.n_patients,
        auc=measures.auc,
        sensitivity=measures.sensitivity,
        specificity=measures.specificity,
        bone=_bone(run, kind),
    )


def _bone(run: Results, kind: ValidationKind) -> Estimate | None:
    """Δ bone − Δ random of all sites that measured it together, the last row of its stage."""
    found = [
        row.figures[DELTA]
        for row in run.further
        if row.stage.endswith(f"_{kind}") and row.figures is not None and DELTA in row.figures
    ]
    return found[-1] if found else None


def find_best(kind: ValidationKind, arms: Sequence[ArmResult]) -> Best | None:
    """The best arm of a kind of validation; None where fewer than two show an AUC."""
    shown = [
        (each.auc, arm.arm)
        for arm in arms
        for each in arm.figures
        if each.kind == kind and each.auc is not None and each.auc.value is not None
    ]
    if len(shown) < 2:
        return None
    values = [(*with_variance(auc), name) for auc, name in shown]
    (first, variance, best), (second, other, next_best) = sorted(values, reverse=True)[:2]
    found = difference_of_aucs(first, variance, second, other)
    return Best(
        kind=kind,
        arm=best,
        next_best=next_best,
        n_arms=len(values),
        difference=found.difference,
        p=found.p,
        above_mean=first - float(np.mean([value for value, *_ in values])),
        by_chance=expected_best([variance**0.5 for _, variance, _ in values]),
    )


def expected_best(sds: Sequence[float]) -> float:
    """Mean of the largest of independent normal errors with these SDs, around one truth.

    It is ∫₀^∞ 1 − F − ∫₋∞⁰ F for F = ∏ Φ(x/sd). Where errors are correlated alike it is smaller
    (Slepian 1962, Bell Syst. Tech. J. 41:463).

    Example:
        >>> round(expected_best([1.0] * 12), 3)
        1.629
    """
    known = [sd for sd in sds if sd > 0]
    if not known:
        return 0.0
    # [x], from the truth outwards
    distance = np.linspace(0.0, _REACH_SD, _STEPS) * max(known)
    above, below = (np.prod([ndtr(side * distance / sd) for sd in known], axis=0) for side in (1, -1))
    if len(known) < len(sds):  # an exact figure is never below the truth
        below = np.zeros_like(distance)
    return float(np.trapezoid(1 - above - below, distance))


def sweep_tables(results: SweepResults, signed: SignedSweep) -> list[TerminalTable]:
    """The arms, what the best of them is worth, and the price, as rows of text."""
    heads = tuple(f"{kind} {name}" for kind in _KINDS for name in ("patients", "AUC", "Δ − Δ"))
    return [
        TerminalTable(
            title=f"{results.name}: {results.endpoint}",
            columns=("arm", *heads, "training ε", "run"),
            rows=tuple(_arm_row(arm) for arm in results.arms),
        ),
        TerminalTable(
            title="the best arm, and what chance makes of a best",
            columns=(
                *("by", "best", "next best", "difference", "p", "arms"),
                *("above the arms' mean", "of equal arms, at most"),
            ),
            rows=tuple(_best_row(best) for best in results.best),
        ),
        TerminalTable(title=PAID, columns=PAID_COLUMNS, rows=tuple(paid_rows(signed))),
    ]


def _arm_row(arm: ArmResult) -> tuple[str, ...]:
    cells = [
        cell
        for each in arm.figures
        for cell in (
            write_value(each.n_patients, digits=0) if each.n_patients else each.status,
            write_figure(each.auc) if each.auc else "–",
            write_figure(each.bone) if each.bone else "–",
        )
    ]
    return (arm.arm, *cells, write_epsilon(arm.training_epsilon), arm.run)


def _best_row(best: Best) -> tuple[str, ...]:
    return (
        best.kind,
        best.arm,
        best.next_best,
        write_figure(best.difference),
        "–" if best.p is None else f"{best.p:.3f}",
        str(best.n_arms),
        f"{best.above_mean:.3f}",
        f"{best.by_chance:.3f}",
    )


OPTIMISM = (
    "The AUC of an arm that was chosen because it is the largest is too large: of equal arms the best "
    "seems better than their mean by up to the last column. p is for two arms named beforehand, not "
    "for the two that came out on top. Choose by the internal column and quote the external figure of "
    "that arm, which did not choose it; or measure the chosen release on patients who come later."
)


def draw_sweep(results: SweepResults, kind: ValidationKind) -> str:
    """AUC against Δ bone − Δ random of the arms that show both, as SVG; empty where none does."""
    points = [
        PlanePoint(name=arm.arm, x=x, y=y)
        for arm in results.arms
        for each in arm.figures
        if each.kind == kind and (x := _shown(each.auc)) and (y := _shown(each.bone))
    ]
    if not points:
        return ""
    return draw_plane(
        points,
        title=f"Ranking and need of bone, {kind}",
        x_label=f"AUC, {kind}",
        y_label="Δ bone − Δ random, of the AUC",
    )


def _shown(estimate: Estimate | None) -> Interval | None:
    """Value and interval, where both are shown."""
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return estimate.value, estimate.low, estimate.high


@dataclass(frozen=True)
class SweepPage:
    """Files of a finished sweep."""

    page: Path
    data: Path


def write_sweep_page(folder: Path, results: SweepResults, signed: SignedSweep) -> SweepPage:
    """Write ``sweep.html`` and ``results.json`` into ``folder``."""
    page, data = folder / PAGE, folder / DATA
    write_atomic(data, results.model_dump_json(indent=1).encode())
    write_atomic(page, render_sweep(results, signed).encode())
    return SweepPage(page, data)


def render_sweep(results: SweepResults, signed: SignedSweep) -> str:
    """The page as HTML text; it makes no request of any kind."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        results=results,
        tables=sweep_tables(results, signed),
        planes=[plane for kind in _KINDS if (plane := draw_sweep(results, kind))],
        optimism=OPTIMISM,
        not_a_device=NOT_A_DEVICE,
    )
