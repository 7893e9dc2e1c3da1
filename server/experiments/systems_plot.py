"""The plot of each system: its first figure for every arm under each training, or for every hospital.

Takes outcomes as data. Imports the drawing of plots.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.experiments.looks_plot import draw_arms, draw_shortcut
from server.experiments.outcome import Outcome, Row
from server.experiments.plot import Axes, Point, draw_plot, grid_over, series_of
from server.experiments.system import EPSILON, PROSPECTIVE, System

_LEAST_DRAWN = -0.2


def plots_of(systems: Sequence[System], outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The plot of each system by the name of its file."""
    by_name, found = {each.name: each for each in systems}, {each.system: each for each in outcomes}

    def draw(outcome: Outcome) -> str:
        system = by_name[outcome.system]
        if system.clean in found:
            return draw_shortcut(outcome, found[system.clean])
        return draw_arms(system, outcome) if system.share_epsilon else _plot(system, outcome)

    beside = {system.clean for system in systems}
    return {picture_of(each): draw(each) for each in outcomes if each.system not in beside}


def _plot(system: System, outcome: Outcome) -> str:
    """By place: a dot for each arm under each training; by hospital: one for each training."""
    figure = system.figures[0]
    rows = [row for row in outcome.rows if row.figure == figure]
    if is_by_place(outcome):
        ticks, label = kinds_of(outcome), f"{figure}, {PROSPECTIVE} patients"
        points: dict[str, tuple[Point | None, ...]] = {
            arm.name: tuple(
                mean_of_kind(rows, arm=arm.name, kind=kind, place=PROSPECTIVE) for kind in ticks
            )
            for arm in system.arms
        }
    else:
        ticks, label = tuple(outcome.patients), f"{figure}, later patients of each hospital"
        points = {
            kind: tuple(
                mean_of_kind(rows, arm=system.arms[0].name, kind=kind, place=place) for place in ticks
            )
            for kind in kinds_of(outcome)
        }
    ends = [end for each in points.values() for point in each if point for end in point]
    axes = Axes(
        title=f"{figure} of {system.name}",
        y_label=label,
        x_label=f"trained; by default under ε = {EPSILON:g}" if is_by_place(outcome) else "hospital",
        ticks=ticks,
        grid=grid_over(ends, least=_LEAST_DRAWN),
    )
    return draw_plot(axes, series_of(points))


def mean_of_kind(rows: Sequence[Row], *, arm: str, kind: str, place: str) -> Point | None:
    """The mean of a kind: of all hospitals alone, where there are several."""
    means = [row.mean for row in rows if (row.arm, row.kind, row.place) == (arm, kind, place)]
    found = [mean for mean in means if mean is not None]
    if not found:
        return None
    # hospitals alone read the same patients, so that intervals depend on each other: the widest
    value = sum(mean.value for mean in found) / len(found)
    margin = max(mean.high - mean.value for mean in found)
    return value, value - margin, value + margin


def kinds_of(outcome: Outcome) -> tuple[str, ...]:
    """How models of a system were trained, in order."""
    return tuple(dict.fromkeys(row.kind for row in outcome.rows))


def is_by_place(outcome: Outcome) -> bool:
    """Whether places are groups of patients; else each is a hospital."""
    return PROSPECTIVE in outcome.patients


def picture_of(outcome: Outcome) -> str:
    """The file of a system's plot."""
    return f"docs/pictures/experiments-{outcome.system}.svg"
