"""Who the patients are, asked of every site of a run: before a release, pooled, in the report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_breast_cancer
from table_federation import found_tables, write_table
from typer.testing import CliRunner

from client.app import app as client_app
from server.command.app import app as command
from server.engines.local import run_local
from server.report import description
from server.report.answers import answers_to
from server.report.collect import collect_results
from server.report.description import collect_descriptions
from server.report.page import render_page
from server.report.plan_facts import plan_facts
from server.run.folder import RunStore
from server.run.release import make_release
from shared.errors import OsteoFedError, RunError
from shared.signing.keys import load_key
from shared.stages.description import DescriptionSum

ROWS = {"ash": range(180), "elm": range(180, 350), "fir": range(350, 450), "hop": range(450, 569)}
PRICES = ("privacy.epsilon=2", "validation.epsilon=2", "validation.description_epsilon=1")
FAST = ("federation.rounds=1", "federation.local_steps=1", "federation.learning_rate=0.5")


@dataclass(frozen=True)
class Described:
    """A run whose sites were asked before anybody trained; fir does not allow it."""

    store: RunStore
    folders: dict[str, Path]


def founded(folder: Path, *overrides: str) -> Described:
    for name, rows in ROWS.items():
        write_table(folder / "archives" / name / "clinical.csv", rows)
    archives = {name: folder / "archives" / name for name in ROWS}
    chosen = [*FAST, *overrides]
    return Described(*found_tables(folder, archives, external=["hop"], overrides=chosen))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Described:
    made = founded(tmp_path_factory.mktemp("described"), *PRICES)
    path = made.folders["fir"] / "policy.yaml"
    policy = yaml.safe_load(path.read_text())
    policy["allowed"].remove("evaluate.description")
    path.write_text(yaml.safe_dump(policy))
    with pytest.raises(RunError, match=r"required sites: fir \(policy.purpose-forbidden\)"):
        run_local(made.store.folder, made.folders, stage="description", client_app=client_app)
    return made


def asked_of(store: RunStore) -> DescriptionSum:
    return DescriptionSum(store.plan, store.plan.stage("description"), None)


def test_every_site_is_asked_before_there_is_a_release(described: Described) -> None:
    assert not described.store.release_folder.exists()
    rows = {row.site: row for row in collect_descriptions(described.store)}
    assert list(rows) == ["ash", "elm", "fir", "hop", "pooled"]
    assert rows["fir"].status == "missing"
    assert rows["fir"].code == "policy.purpose-forbidden"
    assert {rows[site].status for site in ("ash", "elm", "hop", "pooled")} == {"measured"}
    assert rows["ash"].epsilon == pytest.approx(1.0, abs=0.01)


def test_the_pooled_figures_are_those_of_the_described_patients(described: Described) -> None:
    store = described.store
    rows = {row.site: row.description for row in collect_descriptions(store)}
    asked = [row for site in ("ash", "elm", "hop") for row in ROWS[site]]
    found = rows["pooled"]
    data = load_breast_cancer()
    noise = asked_of(store).noise_sd
    assert found.n_patients.value == pytest.approx(len(asked), abs=4 * noise * 3**0.5)
    width = {
        site: rows[site].n_patients.high - rows[site].n_patients.value for site in rows if rows[site]
    }
    assert width["pooled"] == pytest.approx(1.96 * noise * 3**0.5, rel=0.01)
    assert width["ash"] == pytest.approx(1.96 * noise, rel=0.01)
    within = []
    for column, each in enumerate(found.numbers):
        truth = np.clip(data.data[asked, column], each.low, each.high).mean()
        half = (each.mean.high - each.mean.low) / 2
        within.append(abs(truth - each.mean.value) <= 2 * half)  # about four SDs
    assert all(within)
    malignant = (data.target[asked] == 0).mean()
    half = (found.prevalence.high - found.prevalence.low) / 2
    assert abs(found.prevalence.value - malignant) <= 2 * half


@pytest.mark.parametrize(
    ("measured", "shown"), [(["ash", "elm"], ["ash", "elm", "pooled"]), (["elm"], ["elm"])]
)
def test_two_hospitals_are_pooled_and_one_is_not(
    described: Described, monkeypatch: pytest.MonkeyPatch, measured: list[str], shown: list[str]
) -> None:
    found = answers_to(described.store, described.store.plan.stage("description"))
    kept = tuple(answer for answer in found if answer.site in measured)
    monkeypatch.setattr(description, "answers_to", lambda *_: kept)
    rows = collect_descriptions(described.store)
    assert [row.site for row in rows] == shown
    assert rows[-1].description is not None
    asked = sum(len(ROWS[site]) for site in measured)
    assert rows[-1].description.n_patients.value == pytest.approx(
        asked, abs=6 * asked_of(described.store).noise_sd
    )


def test_who_has_answered_is_not_asked_again(described: Described) -> None:
    store, stage = described.store, described.store.plan.stage("description")
    before = answers_to(store, stage)
    with pytest.raises(RunError, match="lacks a result"):
        run_local(store.folder, described.folders, stage="description", client_app=client_app)
    after = answers_to(store, stage)
    assert [answer.site for answer in before] == [answer.site for answer in after]
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old.table, new.table), old.site
    ledger = (described.folders["ash"] / "ledger" / "ledger.jsonl").read_bytes()
    assert ledger.count(b'"kind":"charge"') == 1


def test_a_plan_without_description_asks_nobody(tmp_path: Path) -> None:
    made = founded(tmp_path)
    with pytest.raises(OsteoFedError) as caught:
        run_local(made.store.folder, made.folders, stage="description", client_app=client_app)
    assert caught.value.code == "plan.no-such-stage"
    assert collect_descriptions(made.store) == ()
    assert plan_facts(made.store.plan)["epsilon, description"] == "none is released"
    for folder in made.folders.values():
        assert not (folder / "outbox" / "outbox.jsonl").exists()


def test_the_command_shows_the_table_and_the_report_has_it(tmp_path: Path) -> None:
    made = founded(tmp_path, *PRICES)
    home = made.store.folder.parent.parent
    sites = [part for folder in made.folders.values() for part in ("--site", str(folder))]
    run = CliRunner()
    asked = ["validate", "cytology", "description", "--home", str(home), *sites]
    shown = run.invoke(command, [*asked, "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)
    assert [row["site"] for row in rows] == [*ROWS, "pooled"]
    assert "Who the patients are" in run.invoke(command, asked).output
    run_local(made.store.folder, made.folders, client_app=client_app)
    make_release(made.store, load_key(home / "keys" / "coordinator.pem"))
    results = collect_results(made.store)
    assert [row.site for row in results.description] == [*ROWS, "pooled"]
    assert "Who the patients are" in render_page(results)
    plan = made.store.plan
    dearest = {row.site: row.run_epsilon for row in results.privacy}
    assert dearest["ash"] == plan.predicted.dearest("training")
    assert dearest["ash"] > plan.predicted.training_epsilon
    assert dearest["hop"] == plan.predicted.dearest("external")
    assert dearest["hop"] > plan.predicted.validation_epsilon
    sent = {site.site: site.bytes_sent for site in results.sites}
    assert sent["hop"] == 8 * asked_of(made.store).spec.n_cells
