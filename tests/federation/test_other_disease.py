"""Another disease, another kind of task, no films: federated by adding two YAML files, no Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from table_federation import found_tables, write_table

from server.engines.launch import launch_stage
from server.federation.folder import Home
from server.report.collect import collect_results
from server.report.page import write_report
from server.report.results import Results, ValidationResult
from server.run.release import make_release

pytestmark = pytest.mark.federation

NAMES = ("elm", "fir", "gum", "hop")


def row_of(results: Results, kind: str, site: str) -> ValidationResult:
    return next(row for row in results.validation if (row.kind, row.site) == (kind, site))


def test_a_table_of_another_disease_is_federated_over_four_sites_by_yaml_alone(tmp_path: Path) -> None:
    parts = np.array_split(np.random.default_rng(3).permutation(569), 4)
    archives = {name: tmp_path / "archives" / name for name in NAMES}
    for archive, rows in zip(archives.values(), parts, strict=True):
        write_table(archive / "clinical.csv", rows.tolist())
    store, folders = found_tables(tmp_path, archives, external=["hop"], declared_patients=400)
    launch_stage(store, "train", site_folders=folders)
    make_release(store, Home(store.home).key())
    for stage in ("internal", "external"):
        launch_stage(store, stage, site_folders=folders)
    results = collect_results(store)
    for row in (row_of(results, "internal", "pooled"), row_of(results, "external", "hop")):
        assert row.measures is not None
        assert row.measures.auc.value is not None
        # A linear head without privacy reaches 0.98; chance is 0.5.
        assert row.measures.auc.value > 0.85
        assert row.measures.r2.status == "not-applicable"
    assert store.plan.predicted.training_epsilon == pytest.approx(3.0, abs=0.01)
    page, _ = write_report(tmp_path, results)
    assert "malignan" in page.read_text()


def test_a_site_without_labels_or_with_one_class_is_not_applicable_and_never_0_or_1(
    tmp_path: Path,
) -> None:
    data = load_breast_cancer()
    malignant = np.flatnonzero(data.target == 0)
    parts = np.array_split(np.random.default_rng(3).permutation(569)[:300], 2)
    archives = {name: tmp_path / "archives" / name for name in ("elm", "fir", "one-class", "no-label")}
    write_table(archives["elm"] / "clinical.csv", parts[0].tolist())
    write_table(archives["fir"] / "clinical.csv", parts[1].tolist())
    write_table(archives["one-class"] / "clinical.csv", malignant[:80].tolist())
    write_table(archives["no-label"] / "clinical.csv", range(400, 480), word_of={0: "", 1: ""})
    store, folders = found_tables(
        tmp_path, archives, external=["one-class", "no-label"], overrides=["federation.rounds=1"]
    )
    launch_stage(store, "train", site_folders=folders)
    make_release(store, Home(store.home).key())
    launch_stage(store, "external", site_folders=folders)
    results = collect_results(store)
    unlabelled = row_of(results, "external", "no-label")
    assert unlabelled.status == "not-applicable"
    assert unlabelled.measures is None
    single = row_of(results, "external", "one-class")
    assert single.measures is not None
    assert single.measures.auc.value is None
    assert single.measures.auc.status in ("not-applicable", "suppressed", "too-noisy")
    assert single.measures.specificity.value is None
