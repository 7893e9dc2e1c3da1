"""Every learner of tables through a whole run: approved, trained, released, measured, resumed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from table_federation import found_tables, write_table
from typer.testing import CliRunner

from client.cohort.patients import load_split
from client.gate.gate import open_gate
from client.site.folder import open_site
from server.command.app import app
from server.engines.launch import launch_stage
from server.federation.folder import Home
from server.report.collect import collect_results
from server.report.page import render_page
from server.report.results import Results, ValidationResult
from server.run.folder import RunStore, open_run
from server.run.release import make_release
from server.run.stage_folder import RoundState, StageFolder
from shared.contract.stages import LearnerStage
from shared.errors import RunError
from shared.features.columns import Columns
from shared.learners.table import build_learner
from shared.stages.learner import LearnerSum, table_task
from shared.sums.federate import federate

pytestmark = pytest.mark.federation

# What is chosen of each learner, so that a test takes seconds; by how it is read.
LEARNERS: Mapping[str, tuple[str, ...]] = {
    "forest": ("learner=forest", "learner.trees=30"),
    "naive_bayes": ("learner=naive_bayes",),
    "proportional_odds": ("learner=proportional_odds", "learner.sums=3"),
    "discriminants": ("learner=second_moments", "learner.read_as=discriminants"),
    "soft_neighbours": ("learner=soft_neighbours", "learner.frequencies=64"),
    "logistic": ("learner=logistic", "learner.sums=4"),
    "lda": ("learner=lda",),
    "boosting": ("learner=boosting", "learner.rounds=2", "learner.trees=10"),
    "selection": ("learner=selection", "learner.keep=4", "learner.then.sums=3"),
    "ridge": ("learner=second_moments", "learner.read_as=ridge"),
    "lasso": ("learner=second_moments", "learner.read_as=lasso"),
}
OF_A_NUMBER = ("ridge", "lasso")
ROWS = {"elm": range(130), "fir": range(130, 290), "hop": range(290, 400)}
DECLARED = 150  # by each site
# Under a lower ε so few patients would say too little to be shown.
GROUPS = ("field=texture", "edges=[19]")
EXACT = ("privacy=off", "validation.epsilon=30")


@dataclass(frozen=True)
class Run:
    """A prepared run and its sites."""

    folder: Path

    @property
    def store(self) -> RunStore:
        return open_run(self.folder / "coordinator" / "runs" / "cytology")

    @property
    def folders(self) -> dict[str, Path]:
        return {name: self.folder / "sites" / name for name in ROWS}

    @property
    def stage(self) -> LearnerStage:
        stage = self.store.plan.trained
        assert isinstance(stage, LearnerStage)
        return stage

    def launch(self, *stages: str) -> None:
        for stage in stages:
            launch_stage(self.store, stage, site_folders=self.folders)
            if stage == "train":
                make_release(self.store, Home(self.folder / "coordinator").key())

    def copy(self, folder: Path) -> Run:
        shutil.copytree(self.folder, folder)
        return Run(folder)

    def columns(self, name: str) -> Columns:
        """A training site's patients as the learner takes them."""
        plan = self.store.plan
        schema = plan.settings.cohort.name
        found = load_split(open_site(self.folders[name]), plan, name=schema, split="train")
        return LearnerSum(plan, self.stage, None).columns_of(found.batch)


def founded(folder: Path, learner: str, *overrides: str) -> Run:
    archives = {name: folder / "archives" / name for name in ROWS}
    for name, archive in archives.items():
        write_table(archive / "clinical.csv", ROWS[name])
    chosen = [*LEARNERS[learner], *overrides]
    allowed = {
        "allows_privacy_off": "privacy=off" in overrides,
        "epsilon_per_run": 30.0,
        "epsilon_lifetime": 30.0,
    }
    experiment = "nuclear_size" if learner in OF_A_NUMBER else "breast_cytology"
    found_tables(
        folder,
        archives,
        external=["hop"],
        overrides=chosen,
        policy=allowed,
        experiment=experiment,
        declared_patients=DECLARED,
    )
    return Run(folder)


def row_of(results: Results, kind: str, site: str) -> ValidationResult:
    return next(row for row in results.validation if (row.kind, row.site) == (kind, site))


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_is_trained_released_measured_and_resumed_after_every_sum(
    learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = founded(tmp_path / "run", learner, *EXACT)
    halting = run.copy(tmp_path / "halting")
    run.launch("train", "internal", "external")
    # the released state is that of the sums in one process
    plan, stage = run.store.plan, run.stage
    patients = [run.columns(name) for name in ("elm", "fir")]
    asked = build_learner(stage.learner, table_task(plan.settings, 0.0))
    expected = federate(asked, patients, n_declared=2.0 * DECLARED)
    found = run.store.training.last_committed()
    np.testing.assert_allclose(found.vector, expected.vector, rtol=1e-12, atol=1e-12)
    assert found.round == stage.rounds == len(asked.shares())
    assert np.array_equal(run.store.averaged(), found.vector)
    # it tells ill from well, at home and at a hospital that never trained; chance is 0.5
    results = collect_results(run.store)
    for row in (row_of(results, "internal", "pooled"), row_of(results, "external", "hop")):
        assert row.measures is not None
        assert row.measures.auc.value is not None
        assert row.measures.auc.value > 0.8
        if learner in OF_A_NUMBER:
            assert row.measures.r2.value is not None
            assert row.measures.r2.value > 0.7, "0 is everybody's mean"
    assert results.training.total == "rows"
    sums = LearnerSum(plan, stage, None)
    lengths = tuple(sums.bound(number).length for number in range(1, stage.rounds + 1))
    assert results.training.lengths == lengths
    assert not re.search("trained weights|Share of weight", render_page(results))
    # halted after every sum, it goes on from what was kept
    commit = StageFolder.commit

    def commit_and_halt(folder: StageFolder, state: RoundState) -> None:
        commit(folder, state)
        halting.store.pause()

    monkeypatch.setattr(StageFolder, "commit", commit_and_halt)
    for number in range(1, stage.rounds):
        with pytest.raises(RunError, match=f"paused after round {number}"):
            halting.launch("train")
    halting.launch("train")
    assert np.array_equal(halting.store.averaged(), run.store.averaged())


def test_with_noise_every_sum_is_charged_at_its_share_and_the_plan_keeps_its_price(
    tmp_path: Path,
) -> None:
    run = founded(tmp_path, "discriminants", "privacy.epsilon=3", "validation.epsilon=2")
    run.launch("train")
    stage, plan = run.stage, run.store.plan
    assert stage.rounds == 2
    assert stage.noise_of(1) > stage.noise_of(2), "means need less of the budget than the matrix"
    site = open_site(run.folders["elm"])
    gate = open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)
    charges = [row for row in gate.ledger.show() if row.kind == "charge"]
    assert [(row.stage, row.round, row.steps) for row in charges] == [("train", 1, 1), ("train", 2, 1)]
    assert [row.noise_multiplier for row in charges] == [stage.noise_of(1), stage.noise_of(2)]
    budget = gate.ledger.budget_of_everybody(allowance=site.policy.allowance)
    assert budget.epsilon_spent == pytest.approx(plan.predicted.training_epsilon, rel=1e-6)
    assert 2.9 < plan.predicted.training_epsilon <= 3.0
    # without noise the state would be another
    exact = federate(
        build_learner(stage.learner, table_task(plan.settings, 3.0)),
        [run.columns(name) for name in ("elm", "fir")],
        n_declared=2.0 * DECLARED,
    )
    assert np.abs(run.store.averaged() - exact.vector).max() > 1e-6


def test_a_further_measure_is_asked_by_command_and_reported(tmp_path: Path) -> None:
    run = founded(
        tmp_path,
        "naive_bayes",
        *EXACT,
        "measure=[subgroups]",
        *(f"measures.subgroups.measure.{each}" for each in ("low=0", "high=1", *GROUPS)),
    )
    run.launch("train")
    home = run.folder / "coordinator"
    sites = [part for folder in run.folders.values() for part in ("--site", str(folder))]
    asked = ["validate", "cytology", "subgroups_internal", "--home", str(home), *sites]
    shown = CliRunner().invoke(app, [*asked, "--json"])
    assert shown.exit_code == 0, shown.output
    rows = {row["site"]: row for row in json.loads(shown.stdout)}
    assert list(rows) == ["elm", "fir", "pooled"]
    n_patients = rows["pooled"]["figures"]["n, texture < 19"]
    assert n_patients["low"] <= n_patients["value"] < n_patients["high"]
    assert "sensitivity, texture < 19" in CliRunner().invoke(app, asked).output
    internal = ["validate", "cytology", "internal", *asked[3:]]
    shown = CliRunner().invoke(app, internal).output
    assert "PPV, malignant" in shown
    assert "Brier" in shown
    refused = CliRunner().invoke(app, ["validate", "cytology", "train", "--home", str(home), "--json"])
    assert json.loads(refused.stdout)["error"] == "plan.not-a-measure"
