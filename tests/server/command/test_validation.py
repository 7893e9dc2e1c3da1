"""A release measured, locked and reported by commands; stages are those of the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from practice_commands import Coordinator


def test_a_release_is_measured_by_the_plans_stages_and_no_others(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    assert own.with_sites("launch", own.run).exit_code == 0
    shown = own.with_sites("validate", own.run, "internal", "--json")
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)
    assert [(row["site"], row["kind"], row["status"]) for row in rows] == [
        ("ash", "internal", "measured"),
        ("elm", "internal", "measured"),
        ("pooled", "internal", "measured"),
    ]
    table = own.with_sites("validate", own.run, "external").output
    assert "hop" in table
    assert "ash" not in table
    again = own.with_sites("validate", own.run, "internal", "--json")
    assert json.loads(again.stdout) == rows, "what else was measured is not shown with it"
    for stage, code in (("sideways", "plan.no-such-stage"), ("train", "plan.not-a-measure")):
        refused = own.with_sites("validate", own.run, stage, "--json")
        assert refused.exit_code == 1
        assert json.loads(refused.stdout)["error"] == code
    report = own.told("report", own.run)
    data = json.loads(Path(str(report["report.json"])).read_text())
    assert {row["kind"] for row in data["validation"]} == {"internal", "external"}


def test_of_further_measures_the_one_that_was_asked_is_told(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    bands = ("low=0", "high=1", "field=radius", "edges=[14]")
    groups = ("measure=[subgroups]", *(f"measures.subgroups.measure.{band}" for band in bands))
    own = make_coordinator("validation.epsilon=1", *groups)
    assert own.with_sites("launch", own.run).exit_code == 0
    for stage, sites in (
        ("subgroups_internal", ["ash", "elm", "pooled"]),
        ("subgroups_external", ["hop"]),
        ("subgroups_internal", ["ash", "elm", "pooled"]),
    ):
        shown = own.with_sites("validate", own.run, stage, "--json")
        assert shown.exit_code == 0, shown.output
        rows = json.loads(shown.stdout)
        assert [(row["stage"], row["site"]) for row in rows] == [(stage, site) for site in sites]


def test_a_lock_is_made_once_and_its_films_come_later(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    assert own.with_sites("launch", own.run).exit_code == 0
    early = own.with_sites("validate", own.run, "prospective", "--json")
    assert json.loads(early.stdout)["error"] == "run.not-locked"
    made = own.told("lock", own.run)
    assert Path(str(made["file for the sites"])).exists()
    assert own.told("lock", own.run)["error"] == "run.locked"
    assert own.told("status", own.run)["locked"] == "yes"


def test_nothing_is_measured_before_there_is_a_release(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    early = own.with_sites("validate", own.run, "internal", "--json")
    assert early.exit_code == 1
    assert json.loads(early.stdout)["error"].startswith("weights.")
