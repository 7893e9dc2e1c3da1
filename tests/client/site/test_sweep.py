"""The policy holds a sweep as one run, and computes its cost itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from practice_commands import Coordinator
from practice_sweep import allow, copy_coordinator, found_coordinator, plan_sweep, signed_of

from client.site.folder import open_site
from client.site.sweep import check_sweep


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    own = found_coordinator(tmp_path_factory.mktemp("made"))
    plan_sweep(own, own.home.parent)
    return own


@pytest.fixture
def own(made: Coordinator, tmp_path: Path) -> Coordinator:
    return copy_coordinator(made, tmp_path / "own")


def test_a_sweep_within_the_policy_has_no_problem_at_any_site(own: Coordinator) -> None:
    for folder in own.sites.values():
        assert check_sweep(open_site(folder), signed_of(own)) == ()


def test_a_cap_between_one_arm_and_all_of_them_forbids_the_whole(own: Coordinator) -> None:
    signed = signed_of(own)
    most = max(plan.predicted.dearest("training") or 9.0 for plan in signed.plans)
    allow(own.sites["ash"], epsilon_per_run=most + 0.01)
    found = check_sweep(open_site(own.sites["ash"]), signed)
    assert len(found) == 2
    assert all(each.startswith("all arms: ") for each in found)
    assert {each.split(": ")[1].split(" costs")[0] for each in found} == {"training", "validation"}


def test_what_one_arm_may_not_do_is_said_with_its_name(own: Coordinator) -> None:
    allow(own.sites["ash"], allowed_tasks=["another"])
    found = check_sweep(open_site(own.sites["ash"]), signed_of(own))
    assert {each.split(": ")[0] for each in found} == {"odds", "bayes"}


def test_a_sweep_that_states_less_than_it_costs_is_found_out(own: Coordinator) -> None:
    signed = signed_of(own)
    cheap = signed.sweep.predicted.model_copy(update={"training_epsilon": 0.5})
    forged = replace(signed, sweep=signed.sweep.model_copy(update={"predicted": cheap}))
    assert check_sweep(open_site(own.sites["ash"]), forged) == (
        "the sweep does not state the true cost of all its arms",
    )
