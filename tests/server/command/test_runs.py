"""A run by commands: planned, trained, paused, resumed, looked at, released."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from practice_commands import Coordinator

from shared.contract.plan import read_plan


def test_a_run_goes_from_its_plan_to_its_release(make_coordinator: Callable[..., Coordinator]) -> None:
    own = make_coordinator()
    assert own.told("status", own.run)["committed rounds"] == "0 of 2"
    shown = own.with_sites("launch", own.run, "--json")
    assert shown.exit_code == 0, shown.output
    facts = json.loads(shown.stdout)
    assert facts["rounds"] == 2
    status = own.told("status", own.run)
    assert (status["committed rounds"], status["release"]) == ("2 of 2", "made")
    assert status["events"] == []
    assert status["locked"] == "no"  # a release is not yet a lock
    made = own.told("release", own.run)
    assert made["release"] == facts["release"]
    assert made["rounds"] == 2


def test_a_paused_run_stops_before_its_next_round_and_resumes(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    own.told("pause", own.run)
    stopped = own.with_sites("launch", own.run, "--json")
    assert stopped.exit_code == 1
    assert json.loads(stopped.stdout)["error"] == "run.paused"
    resumed = own.with_sites("resume", own.run, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["rounds"] == 2


def test_a_plan_shows_its_stages_and_what_each_group_of_patients_pays(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    asked = ("plan", "another", "fusion=clinical_only", "encoder=none", "federation.rounds=4")
    told = own.told(*asked)
    assert [stage["stage"] for stage in told["stages"]] == [
        *("train", "internal", "external", "prospective")
    ]
    assert told["stages"][0]["rounds × sums"] == "4 × 1"
    groups = {(group["site"], group["patients"]): group["pay for"] for group in told["groups"]}
    assert groups["training", "train"] == "training"
    written = read_plan(Path(str(told["file for the sites"])))
    assert written.sha256 == told["plan"]
    shown = own.type("plan", "a-third", *asked[2:]).output
    for words in ("stages", "what a patient pays", "roster", "prospective"):
        assert words in shown
