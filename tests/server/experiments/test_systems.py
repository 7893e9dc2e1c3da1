"""Every entry is whole: its arms compose, its ablations name arms, its figures exist."""

from __future__ import annotations

import pytest

from server.experiments.harness import settings_of
from server.experiments.measures import further_measures
from server.experiments.system import System
from server.experiments.systems import SYSTEMS
from server.simulation.arms import plan_arm
from server.simulation.comparison import figure_names
from shared.contract.decision import decision_of
from shared.contract.model_settings import follow_up_of


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_arm_of_a_system_has_a_plan_with_and_without_privacy(system: System) -> None:
    sizes = dict.fromkeys(system.population.training, 140)
    plans = set()
    for arm in system.arms:
        for is_private in (True, False):
            settings = settings_of(system, arm, is_private=is_private)
            plan = plan_arm(settings, sizes, run="experiments")
            assert plan.trained is not None
            assert (plan.trained.release_class == "dp") is is_private
            plans.add(plan.sha256)
            decision, follow_up = decision_of(settings), follow_up_of(settings)
            further = further_measures(system.figures, decision, follow_up)
            measured = {*figure_names(decision, follow_up), *further}
            assert set(system.figures) <= measured
    assert len(plans) == 2 * len(system.arms), "two arms are the same"


def test_names_are_unique_and_ablations_are_of_arms() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    for system in SYSTEMS:
        names = [arm.name for arm in system.arms]
        assert len(set(names)) == len(names)
        for each in system.ablations:
            assert {each.first, each.second} <= set(names)
            assert each.first != each.second


def test_populations_of_one_name_are_one() -> None:
    populations = {system.population.name: system.population for system in SYSTEMS}
    assert all(system.population is populations[system.population.name] for system in SYSTEMS)
