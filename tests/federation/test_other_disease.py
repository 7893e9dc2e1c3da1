"""Another disease, another kind of task, no films: federated by adding two YAML files, no Python."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from client.intake import ingest
from client.site import create_site, join_federation, open_site
from server.compose import CONFIGS, compose_settings
from server.home import create_home, enrol
from server.launch import launch_stage, prepare
from server.plan import draft_plan, save_plan
from server.release import make_release
from server.results import collect_results
from shared.exam.profile import SiteProfile
from shared.report.page import write_report

pytestmark = pytest.mark.federation

HERE = Path(__file__).parent / "other_disease"
NAMES = ("elm", "fir", "gum", "hop")
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def write_table(path: Path, rows: Sequence[int]) -> None:
    data = load_breast_cancer()
    columns = [name.removeprefix("mean ").replace(" ", "_") for name in data.feature_names[:10]]
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patient_id", "exam_date", *columns, "diagnosis"])
        for row in rows:
            values = [f"{value:.6g}" for value in data.data[row, :10]]
            word = "B" if data.target[row] == 1 else "malignant"
            writer.writerow([f"P{row:05d}", "2020-03-01", *values, word])


def test_a_table_of_another_disease_is_federated_over_four_sites_by_yaml_alone(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    shutil.copy(HERE / "cohort.yaml", configs / "cohort" / "breast_cytology.yaml")
    shutil.copy(HERE / "experiment.yaml", configs / "experiment" / "breast_cytology.yaml")
    settings = compose_settings(
        ["experiment=breast_cytology", "federation.poll_s=0.01"], configs=configs
    )
    home = create_home(tmp_path / "coordinator")
    parts = np.array_split(np.random.default_rng(3).permutation(569), 4)
    folders = {}
    for name, rows in zip(NAMES, parts, strict=True):
        write_table(tmp_path / "archives" / name / "clinical.csv", rows.tolist())
        folder = tmp_path / "sites" / name
        request = create_site(folder, name=name, declared_patients=100, profile=SiteProfile())
        role = "external" if name == "hop" else "training"
        answer = enrol(home, request, role=role, is_required=True, now=NOW)
        site = join_federation(folder, answer)
        report = ingest(
            tmp_path / "archives" / name,
            store=site.cohorts,
            schema=settings.cohort,
            profile=site.settings.profile,
            pseudonyms=site.pseudonyms,
            linkage=site.linkage,
            clock=lambda: NOW,
        )
        assert report.n_rows_used == report.n_rows_read == len(rows)
        folders[name] = folder
    plan = draft_plan(
        settings,
        home.active_sites(),
        run="cytology",
        coordinator_key=home.key().public_hex,
        now=NOW,
    )
    save_plan(home, plan)
    for folder in folders.values():
        approvals = open_site(folder).approvals
        read = approvals.import_plan(home.run_folder("cytology") / "plan.json")
        approvals.decide(read, "approved", by="Grace Hopper", now=NOW)
    store = prepare(home, "cytology")
    launch_stage(store, "train", site_folders=folders)
    make_release(store, home.key())
    for stage in ("internal", "external"):
        launch_stage(store, stage, site_folders=folders)
    results = collect_results(store)
    pooled = next(row for row in results.validation if row.is_pooled and row.kind == "internal")
    external = next(row for row in results.validation if row.kind == "external")
    for row in (pooled, external):
        assert row.measures is not None
        assert row.measures.auc.value is not None
        # A linear head without privacy reaches 0.98; chance is 0.5.
        assert row.measures.auc.value > 0.85
        assert row.measures.r2.status == "not-applicable"
    assert plan.predicted.training_epsilon == pytest.approx(3.0, abs=0.01)
    page, _ = write_report(tmp_path, results)
    assert "malignan" in page.read_text()
