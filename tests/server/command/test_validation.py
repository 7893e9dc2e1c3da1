"""A release measured, locked and reported by commands; stages are those of the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import practice_federation as practice
import pytest
from practice_commands import Coordinator

from server.federation.folder import Home, create_home
from server.report.results import DescriptionResult
from shared.contract.stages import DescriptionStage


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
    made = own.told("lock", own.run, "--days", "30")
    assert Path(str(made["file for the sites"])).exists()
    assert own.told("lock", own.run, "--days", "30")["error"] == "run.locked"
    assert own.told("status", own.run)["locked"] == "yes"


def test_nothing_is_measured_before_there_is_a_release(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    own = make_coordinator()
    early = own.with_sites("validate", own.run, "internal", "--json")
    assert early.exit_code == 1
    assert json.loads(early.stdout)["error"].startswith("weights.")


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Coordinator:
    """A coordinator whose plan describes patients before there is any release."""
    stage = DescriptionStage(
        name="who",
        roles=("training",),
        patients="everybody",
        release_class="dp",
        noise_multipliers=(1.0,),
        has_second_moments=False,
        target_low=0.0,
        target_high=1.0,
        minimum_cell=1,
    )
    refused = DescriptionResult(
        site="ash", status="missing", code="policy.purpose-forbidden", release_class="dp"
    )
    store = SimpleNamespace(plan=SimpleNamespace(stage=lambda _: stage))
    monkeypatch.setattr("server.run.prepare.prepare", lambda *_: store)
    monkeypatch.setattr("server.engines.launch.launch_stage", lambda *_, **__: None)
    monkeypatch.setattr("server.report.description.collect_descriptions", lambda _: (refused,))
    return Coordinator(tmp_path, {})


def test_a_description_is_told_before_there_is_a_release(described: Coordinator) -> None:
    [row] = json.loads(described.type("validate", "spring", "who", "--json").stdout)
    assert (row["site"], row["code"]) == ("ash", "policy.purpose-forbidden")
    shown = described.type("validate", "spring", "who")
    assert shown.exit_code == 0
    assert "Who the patients are" in shown.output
    assert "policy.purpose-forbidden" in shown.output


def test_a_report_reads_every_ledger_that_was_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1)
    asked: list[list[Path]] = []

    def collect(_: object, *, ledgers: list[Path]) -> None:
        asked.append(ledgers)

    monkeypatch.setattr("server.report.collect.collect_results", collect)
    monkeypatch.setattr(
        "server.report.page.write_report", lambda folder, _: (folder / "a.html", folder / "a.json")
    )
    monkeypatch.setattr("server.report.summary.summarise", lambda _: None)
    monkeypatch.setattr("shared.contract.validation_summary.write_summary", lambda *_, **__: None)
    own = Coordinator(tmp_path, {})
    told = own.told("report", "practice", "--ledger", "a.json", "--ledger", "b.json")
    own.told("report", "practice")
    assert asked == [[Path("a.json"), Path("b.json")], []]
    assert told == {
        "report.html": str(store.folder / "a.html"),
        "report.json": str(store.folder / "a.json"),
    }


def test_a_countersigned_statement_is_told_by_whose_it_is_and_who_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = create_home(tmp_path)
    predicate = SimpleNamespace(site="ash", run="spring", releases=(1, 2, 3))
    asked: list[Path] = []

    def sign(home: Home, path: Path) -> SimpleNamespace:
        assert home.folder == tmp_path
        asked.append(path)
        return SimpleNamespace(predicate=predicate)

    monkeypatch.setattr("server.run.statements.countersign_site_statement", sign)
    assert Coordinator(tmp_path, {}).told("countersign", "statement.json") == {
        "site": "ash",
        "run": "spring",
        "signed by": own.key().public_hex,
        "releases stated": 3,
        "file": "statement.json",
    }
    assert asked == [Path("statement.json")]


def test_the_readings_of_a_run_are_told_where_it_keeps_a_matrix(
    make_coordinator: Callable[..., Coordinator],
) -> None:
    by_sums = (f"federation.{name}=null" for name in ("rounds", "local_steps", "learning_rate"))
    own = make_coordinator("learner=second_moments", "learner.read_as=discriminants", *by_sums)
    assert own.with_sites("launch", own.run).exit_code == 0
    told = own.told("readings", own.run)
    shares = [each["share"] for each in told["components"]]
    assert shares == sorted(shares, reverse=True)
    assert 0.0 < sum(shares) <= 1.0 + 1e-9
    assert told["path"] == []
    assert "principal components" in own.type("readings", own.run).output
