"""A hospital looks at a sweep once, and decides about all its plans or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from late_hospital import BY, short_code
from practice_commands import Coordinator
from practice_sweep import (
    allow,
    charges_of,
    copy_coordinator,
    found_coordinator,
    hospitals_of,
    plan_sweep,
    signed_of,
)

from client.site.folder import open_site


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return found_coordinator(tmp_path_factory.mktemp("made"))


@pytest.fixture
def own(made: Coordinator, tmp_path: Path) -> Coordinator:
    return copy_coordinator(made, tmp_path / "own")


def decisions(own: Coordinator, site: str) -> set[str | None]:
    approvals = open_site(own.sites[site]).approvals
    return {approvals.decision(plan.sha256) for plan in signed_of(own).plans}


def test_one_look_shows_every_arm_and_one_price_and_one_yes_approves_all(
    own: Coordinator, tmp_path: Path
) -> None:
    path, ash = plan_sweep(own, tmp_path), hospitals_of(own)["ash"]
    told = ash.told("plan", str(path))
    assert [row["arm"] for row in told["plans"]] == ["odds", "bayes"]
    assert (told["policy"], told["would stop it"]) == ("allows it", "nothing")
    assert "for all arms; dearest patient 0.00 spent before" in told["epsilon, training"]
    paid = {row["patients"]: row for row in told["groups"]}
    assert paid["train"]["all arms together"] > paid["train"]["one arm"]
    assert decisions(own, "ash") == {None}
    shown = ash.must("approve", str(path), "--by", BY, "--code", short_code(path))
    assert "2 plans, is approved by" in shown
    assert decisions(own, "ash") == {"approved"}
    ash.must("refuse", str(path), "--by", BY)
    assert decisions(own, "ash") == {"refused"}
    assert charges_of(own.sites["ash"]) == []


def test_a_sweep_above_the_cap_of_a_run_is_refused_though_each_arm_is_below_it(
    own: Coordinator, tmp_path: Path
) -> None:
    path = plan_sweep(own, tmp_path, "privacy.epsilon=4")
    alone = [plan.predicted.training_epsilon or 9.0 for plan in signed_of(own).plans]
    assert max(alone) < 3.0
    for name, hospital in hospitals_of(own).items():
        if name == "hop":  # it does not train
            continue
        told = hospital.told("approve", str(path), "--by", BY, "--code", short_code(path))
        assert told["error"] == "plan.forbidden-by-policy"
        assert "all arms: training costs epsilon" in str(told["fact"])
        assert decisions(own, name) == {None}
    done = own.with_sites("sweep", "launch", "trial", "--json")
    assert "engine.sites-not-ready" in done.stdout
    assert [charges_of(folder) for folder in own.sites.values()] == [[], [], []]


def test_a_sweep_above_what_is_left_for_life_is_refused(own: Coordinator, tmp_path: Path) -> None:
    path, folder = plan_sweep(own, tmp_path), own.sites["ash"]
    allow(folder, epsilon_lifetime=2.5)
    told = hospitals_of(own)["ash"].told("approve", str(path), "--by", BY, "--code", short_code(path))
    assert told["error"] == "plan.would-be-refused"
    assert "above the cap of 2.5" in str(told["fact"])
    assert decisions(own, "ash") == {None}


def test_nobody_at_the_terminal_is_a_no(own: Coordinator, tmp_path: Path) -> None:
    path = plan_sweep(own, tmp_path)
    told = hospitals_of(own)["ash"].told("approve", str(path), "--by", BY)
    assert told["error"] == "policy.not-confirmed"
    assert decisions(own, "ash") == {None}
