"""Two plots of where models look: ranking against need of bone, and what a leaking marker does to both.

Takes outcomes as data. Imports the drawing of plots.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.experiments.outcome import Mean, Outcome, Row
from server.experiments.plot import Axes, Point, draw_plot, grid_over, series_of
from server.experiments.system import ALONE, EPSILON, EXTERNAL, FEDERATED, NO_PRIVACY, System
from server.report.plane import PlanePoint, draw_plane
from server.simulation.looks import IOU
from shared.measures.bone import DELTA

_LEAST_DRAWN = -0.3
AUC = "AUC"


def mean_of(rows: Sequence[Row], *, arm: str, training: str, place: str, figure: str) -> Mean | None:
    """A figure of an arm under a training at a place."""
    asked = (arm, training, place, figure)
    return next(
        (row.mean for row in rows if (row.arm, row.training, row.place, row.figure) == asked), None
    )


def draw_arms(system: System, outcome: Outcome) -> str:
    """AUC against Δ bone − Δ random of every arm, outside, under the private federation."""
    points = []
    for arm in system.arms:
        auc, delta = (
            mean_of(outcome.rows, arm=arm.name, training=FEDERATED, place=EXTERNAL, figure=figure)
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


def hospital_of(outcome: Outcome) -> str:
    """The hospital whose films may leak: the place that is not outside."""
    return next(place for place in outcome.patients if place != EXTERNAL)


def draw_shortcut(leaking: Outcome, clean: Outcome) -> str:
    """AUC inside and outside, and what bone is worth inside: with the marker, and without.

    Of the first arm: trained together, and the hospital of the shortcut alone, without noise.
    """
    hospital, arm = hospital_of(leaking), leaking.rows[0].arm
    alone = [row.training for row in leaking.rows if row.kind == f"{ALONE}, {NO_PRIVACY}"]
    shown = {
        f"AUC, {hospital}": (hospital, AUC),
        "AUC, outside": (EXTERNAL, AUC),
        f"Δ − Δ, {hospital}": (hospital, DELTA),
        f"IoU, {hospital}": (hospital, IOU),
    }
    points: dict[str, tuple[Point | None, ...]] = {}
    for training in (FEDERATED, *alone[:1]):
        for words, outcome in (("marker leaks", leaking), ("clean", clean)):
            means = [
                mean_of(outcome.rows, arm=arm, training=training, place=place, figure=figure)
                for place, figure in shown.values()
            ]
            name = f"{words}, {training.split(':')[0]}"
            points[name] = tuple(_point(mean) if mean else None for mean in means)
    ends = [end for each in points.values() for point in each if point for end in point]
    axes = Axes(
        title=f"The leaking marker of {hospital}, {arm}",
        y_label="AUC; Δ bone − Δ random of it; IoU above chance",
        x_label=f"{FEDERATED}: ε = {EPSILON:g}; outside: a hospital that never trained",
        ticks=tuple(shown),
        grid=grid_over(ends, least=_LEAST_DRAWN),
    )
    return draw_plot(axes, series_of(points))


def _point(mean: Mean) -> Point:
    return mean.value, mean.low, mean.high
