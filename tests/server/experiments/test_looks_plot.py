"""The plots of where models look hold every arm, and both kinds of films."""

from __future__ import annotations

from dataclasses import replace

from practice_experiments import TWO, looked_outcome, looks

from server.experiments.looks_plot import draw_arms, draw_shortcut, hospital_of
from server.experiments.system import Arm
from shared.measures.bone import DELTA

FIGURES = {"auc": 0.7, "delta": 0.1, "iou": 0.05}


def test_a_point_stands_for_every_arm_that_shows_both_figures() -> None:
    arms = tuple(Arm(name=name, settings=()) for name in ("probe", "silent"))
    seen = looks("federated", "external", **FIGURES)
    seen[("silent", "federated", "external", "AUC")] = 0.8
    text = draw_arms(replace(TWO, arms=arms), looked_outcome("sweep", seen))
    assert "probe: 0.700 (0.660 to 0.740) across, 0.100 (0.060 to 0.140) up" in text
    assert "silent" not in text
    seen[("silent", "federated", "external", DELTA)] = -0.1
    text = draw_arms(replace(TWO, arms=arms), looked_outcome("sweep", seen))
    assert "silent: 0.800 (0.760 to 0.840) across, −0.100" in text.replace("-0.1", "−0.1")


def test_the_marker_stands_beside_clean_films_inside_and_outside() -> None:
    leaking, clean = (
        looked_outcome(
            name,
            looks("federated", "larch", **FIGURES)
            | looks("alone, no privacy: larch", "larch", auc=auc, delta=0.0, iou=0.0)
            | looks("alone, no privacy: larch", "external", auc=0.5, delta=0.0, iou=0.0),
        )
        for name, auc in (("leaking", 0.91), ("clean", 0.72))
    )
    assert hospital_of(leaking) == "larch"
    text = draw_shortcut(leaking, clean)
    assert (
        "marker leaks, alone, no privacy: AUC, larch: 0.910 (0.870 to 0.950), AUC, outside: 0.500"
        in text
    )
    assert "clean, alone, no privacy: AUC, larch: 0.720" in text
    assert "clean, federated: AUC, larch: 0.700" in text
