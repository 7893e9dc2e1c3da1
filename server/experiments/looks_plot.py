"""Two plots of where models look: ranking against need of bone, and what a leaking marker does to both.

Takes outcomes as data. Imports the drawing of plots.
"""

from __future__ import annotations

from server.experiments.outcome import Mean, Outcome
from server.experiments.plot import Axes, Point, draw_plot, grid_over, series_of
from server.experiments.system import ALONE, EPSILON, EXTERNAL, FEDERATED, System
from server.report.plane import PlanePoint, draw_plane
from server.simulation.looks import IOU
from shared.measures.bone import DELTA

_LEAST_DRAWN = -0.3
AUC = "AUC"


def mean_of(outcome: Outcome, *, training: str, place: str, figure: str, arm: str = "") -> Mean | None:
    """A figure of an arm, or of the only one, under a training at a place."""
    return next(
        (
            row.mean
            for row in outcome.rows
            if (row.training, row.place, row.figure) == (training, place, figure)
            and arm in ("", row.arm)
        ),
        None,
    )


def draw_arms(system: System, outcome: Outcome) -> str:
    """AUC against Δ bone − Δ random of every arm, outside, under the private federation."""
    points = []
    for arm in system.arms:
        auc, delta = (
            mean_of(outcome, training=FEDERATED, place=EXTERNAL, figure=figure, arm=arm.name)
            for figure in (AUC, DELTA)
        )
        if auc and delta:
            points.append(PlanePoint(name=arm.name, x=_point(auc), y=_point(delta)))
    return draw_plane(
        points,
        title=f"Ranking and need of bone of {system.name}",
        x_label=f"AUC, {EXTERNAL} patients; {FEDERATED}, all arms under one ε = {EPSILON:g}",
        y_label="Δ bone − Δ random, of the AUC",
    )


def trainings_of(outcome: Outcome) -> tuple[str, ...]:
    """The private ones of a shortcut's outcome: together, and the hospital of the shortcut alone."""
    private = (FEDERATED, f"{ALONE}: {hospital_of(outcome)}")
    return tuple(each for each in private if any(row.training == each for row in outcome.rows))


def hospital_of(outcome: Outcome) -> str:
    """The hospital whose films may leak: the place that is not outside."""
    return next(place for place in outcome.patients if place != EXTERNAL)


def draw_shortcut(leaking: Outcome, clean: Outcome) -> str:
    """AUC inside and outside, and what bone is worth inside: with the marker, and without."""
    hospital = hospital_of(leaking)
    shown = {
        f"AUC, {hospital}": (hospital, AUC),
        "AUC, outside": (EXTERNAL, AUC),
        f"Δ − Δ, {hospital}": (hospital, DELTA),
        f"IoU, {hospital}": (hospital, IOU),
    }
    points: dict[str, tuple[Point | None, ...]] = {}
    for training in trainings_of(leaking):
        for words, outcome in (("marker leaks", leaking), ("clean", clean)):
            means = [
                mean_of(outcome, training=training, place=place, figure=figure)
                for place, figure in shown.values()
            ]
            name = f"{words}, {training.split(':')[0]}"
            points[name] = tuple(_point(mean) if mean else None for mean in means)
    ends = [end for each in points.values() for point in each if point for end in point]
    axes = Axes(
        title=f"The leaking marker of {hospital}",
        y_label="AUC; Δ bone − Δ random of it; IoU above chance",
        x_label=f"ε = {EPSILON:g}; outside: a hospital that never trained",
        ticks=tuple(shown),
        grid=grid_over(ends, least=_LEAST_DRAWN),
    )
    return draw_plot(axes, series_of(points))


def _point(mean: Mean) -> Point:
    return mean.value, mean.low, mean.high
