"""What else a run's last state says: principal components and the LASSO's path, or the columns kept.

Learner ``second_moments`` keeps its whole noised matrix, ``selection`` the noised scores of columns;
reading them again is post-processing and costs nobody anything. What noise alone would show is said
beside it. Imports learners and stages.
Legend: f columns · c components · p penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from server.report.stability import Stable, measure_stability
from shared.contract.plan import Plan
from shared.contract.stages import LearnerStage
from shared.errors import RunError
from shared.learners.moments import Moments, components, lasso_path, noise_penalty
from shared.learners.second_moments import SecondMoments, SecondMomentsSettings
from shared.learners.selection import Selection, SelectionSettings
from shared.learners.varclus import VarclusSettings
from shared.stages.learner import table_task
from shared.stages.stage_sum import StageState
from shared.sums.contract import Floats, State

# Columns that are named of a component, and steps of a path.
_NAMED, _STEPS = 4, 12


@dataclass(frozen=True, kw_only=True)
class Component:
    """One direction of the columns.

    Attributes:
        share: of the columns' summed variance.
        above_noise: whether its eigenvalue exceeds what the matrix's noise alone is expected to reach.
        weights: the heaviest columns, by name.
    """

    share: float
    above_noise: bool
    weights: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Columns kept at one penalty, and whether noise alone is expected to stay below it."""

    penalty: float
    above_noise: bool
    kept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Columns of public films that go together.

    Attributes:
        representative: the column that its cluster's first component explains best.
        explained: of each column, its r² with that component, the representative first.
    """

    representative: str
    explained: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What a state was read as.

    Attributes:
        components: by falling variance.
        path: of the LASSO; none where classes are told.
        kept: columns that a selection kept, the highest score first; under noise not those that matter.
        clusters: of public films, where the plan names them.
        is_public_choice: whether no sum has chosen, and nothing was paid for a choice.
        stability: of every column that a selection's sum chose from.
    """

    components: tuple[Component, ...] = ()
    path: tuple[Step, ...] = ()
    kept: tuple[str, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    is_public_choice: bool = False
    stability: tuple[Stable, ...] = ()


def read_again(plan: Plan, state: StageState) -> Readings:
    """Read the last state of a plan's training.

    Args:
        plan: trains ``second_moments`` or ``selection``.
        state: the last one.

    Raises:
        RunError: another learner, or a run that has not ended.
    """
    stage = plan.trained
    settings = stage.learner if isinstance(stage, LearnerStage) else None
    if not isinstance(stage, LearnerStage) or not isinstance(
        settings, SecondMomentsSettings | SelectionSettings
    ):
        raise RunError(
            "nothing-to-read",
            f"run {plan.run} keeps no matrix of its columns and no scores of them",
            hint="components and the LASSO path are read from a run of learner=second_moments, the "
            "columns kept from one of learner=selection",
        )
    if state.round < stage.rounds:
        raise RunError("not-finished", f"run {plan.run} has not ended its training")
    task = table_task(plan.settings, stage.epsilon)
    held = State(np.asarray(state.vector, dtype=np.float64), state.round, state.memory)
    if isinstance(settings, SelectionSettings):
        selection = Selection.build(settings, task)
        return Readings(
            kept=selection.columns_kept(held),
            clusters=clusters_of(settings),
            is_public_choice=not selection.share,
            stability=measure_stability(selection, held),
        )
    moments = SecondMoments.build(settings, task).moments_of(held)
    names = [column.name for column in task.columns]
    path = () if task.n_classes else _path(moments, settings, names)
    return Readings(components=_components(moments, settings.n_components, names), path=path)


def clusters_of(settings: SelectionSettings) -> tuple[Cluster, ...]:
    """Clusters of public films that a plan names, in order; none where it names no film."""
    if not isinstance(settings.by, VarclusSettings):
        return ()
    found: dict[int, dict[str, float]] = {}
    for each in sorted(settings.by.public, key=lambda each: (each.cluster, -each.explained)):
        found.setdefault(each.cluster, {})[each.column] = each.explained
    return tuple(Cluster(representative=next(iter(each)), explained=each) for each in found.values())


def _components(moments: Moments, n: int, names: Sequence[str]) -> tuple[Component, ...]:
    basis = components(moments, n_components=n).weights  # [f,c]
    columns = moments.columns
    values = np.linalg.eigvalsh(columns)[::-1][:n]
    whole = max(float(np.trace(columns)), np.finfo(float).tiny)
    return tuple(
        Component(
            share=max(float(value), 0.0) / whole,
            above_noise=bool(value > moments.noise_norm),
            weights=_heaviest(direction, names),
        )
        for value, direction in zip(values, basis.T, strict=True)
    )


def _heaviest(direction: Floats, names: Sequence[str]) -> dict[str, float]:
    order = np.argsort(-np.abs(direction), kind="stable")[:_NAMED]
    return {names[place]: float(direction[place]) for place in order}


def _path(moments: Moments, settings: SecondMomentsSettings, names: Sequence[str]) -> tuple[Step, ...]:
    """From the penalty that keeps no column to a hundredth of it, in equal ratios."""
    largest = float(np.abs(moments.with_targets[:, 0]).max())
    if largest == 0.0:
        return ()
    penalties = largest * np.geomspace(1.0, 0.01, _STEPS)
    threshold = noise_penalty(moments, multiple=1.0)
    ridge = max(settings.penalty, settings.noise_share * moments.noise_norm)
    weights = lasso_path(moments, penalties.tolist(), ridge_penalty=ridge)  # [p,f]
    return tuple(
        Step(
            penalty=float(penalty),
            above_noise=bool(penalty >= threshold),
            kept=tuple(name for name, weight in zip(names, row, strict=True) if weight),
        )
        for penalty, row in zip(penalties, weights, strict=True)
    )


def facts_of(readings: Readings) -> dict[str, object]:
    """Readings as JSON has them."""
    return asdict(readings)


COMPONENT_COLUMNS = ("component", "share of variance", "above noise", "heaviest columns")
CLUSTER_COLUMNS = ("cluster", "representative", "columns, r² with its first component")
PATH_COLUMNS = ("penalty", "above noise", "columns kept", "which")


def component_rows(readings: Readings) -> list[tuple[str, ...]]:
    """A row per component, for a terminal."""
    return [
        (
            str(number),
            f"{each.share:.1%}",
            "yes" if each.above_noise else "no",
            ", ".join(f"{name} {weight:+.2f}" for name, weight in each.weights.items()),
        )
        for number, each in enumerate(readings.components, start=1)
    ]


def path_rows(readings: Readings) -> list[tuple[str, ...]]:
    """A row per penalty, for a terminal."""
    return [
        (
            f"{step.penalty:.3g}",
            "yes" if step.above_noise else "no",
            str(len(step.kept)),
            ", ".join(step.kept) or "none",
        )
        for step in readings.path
    ]


def cluster_rows(readings: Readings) -> list[tuple[str, ...]]:
    """A row per cluster of public films, for a terminal."""
    return [
        (
            str(number),
            each.representative,
            ", ".join(f"{name} {value:.2f}" for name, value in each.explained.items()),
        )
        for number, each in enumerate(readings.clusters, start=1)
    ]


def kept_rows(readings: Readings) -> list[tuple[str, ...]]:
    """A row per column that was kept, for a terminal."""
    return [(str(place), name) for place, name in enumerate(readings.kept, start=1)]
