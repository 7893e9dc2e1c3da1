"""Frozen encoders as sources of features through a whole federation, and the encoder of an earlier run.

Three small synthetic hospitals with real DICOM films, ingested once: three encoders, clusters of their
columns and a network under privacy; then an encoder that one run trains and the next one reads.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from film_hospitals import SIZES, Hospitals
from typer.testing import CliRunner

from client.cohort.patients import load_split
from client.cohort.token_cache import block_file
from client.cohort.versions import current_cohort
from client.reading import predict as predicting
from client.reading.maps import ExamMaps
from client.site.folder import open_site
from server.command.app import app
from server.demo.play import read_new_film
from server.federation.compose import compose_settings
from server.report.collect import collect_results
from server.report.page import render_page
from server.run.folder import RunStore
from shared.contract.release import read_release
from shared.learners.selection import Selection
from shared.learners.table import build_learner
from shared.model.weights import read_weights
from shared.privacy.accountant import gaussian_mu
from shared.stages.learner import table_task
from shared.stages.scores import scorer_of
from shared.sums.contract import State

pytestmark = pytest.mark.federation

TRAINED = ("aster", "birch")
READY = ("task=bmd_classes", "encoder=none", "fusion=clinical_only", "federation.poll_s=0.01")
THREE = (
    *("features=three_encoders", "learner=clusters_mlp", "learner.then.sums=3", "learner.keep=8"),
    "learner.by.noise=0",  # so few patients would have no clusters
    *("privacy.epsilon=2", *READY),
)
CELLS = ("features=cells_encoder_radiomics", "learner=lda", "privacy.epsilon=2", *READY)
PRETRAINING = (
    *("encoder=standin_vit", "encoder.training=lora", "encoder.trained_blocks=1", "fusion=linear"),
    *("privacy.epsilon=2", "federation.poll_s=0.01", "federation.rounds=2", "federation.local_steps=1"),
)


@pytest.fixture(scope="module")
def three(hospitals: Hospitals) -> RunStore:
    """Three encoders, clusters of their columns, and a network on those kept."""
    return hospitals.play(compose_settings(THREE), "three-encoders")


def test_three_encoders_are_delivered_kept_and_released_by_their_hashes(
    hospitals: Hospitals, three: RunStore
) -> None:
    hashes = [source.sha256 for source in three.plan.settings.features.of_films]
    assert three.plan.encoder_sha256 == ""
    assert list(three.encoders) == hashes
    release = read_release(three.release_folder, coordinator_key=hospitals.home.key().public_hex)
    assert list(release.encoders) == hashes
    sizes = sum(path.stat().st_size for path in release.encoders.values())
    for name in SIZES:
        site = open_site(hospitals.folders.site(name))
        assert all(site.encoder_file(sha256).exists() for sha256 in hashes)
    received = {site.site: site.bytes_received for site in collect_results(three).sites}
    assert min(received.values()) >= sizes > 1_000_000


def test_each_encoder_is_a_block_of_its_own_at_each_hospital(
    hospitals: Hospitals, three: RunStore
) -> None:
    for name in TRAINED:
        site = open_site(hospitals.folders.site(name))
        cohort = current_cohort(site, "hip_bmd")
        for source in three.plan.settings.features.of_films:
            made_by = {"kind": "pooled", "encoder": source.sha256, "components": 16}
            assert block_file(site, cohort, made_by).exists()


def test_a_network_on_clusters_of_their_columns_is_trained_measured_and_reported(
    hospitals: Hospitals, three: RunStore
) -> None:
    stage, plan = three.plan.trained, three.plan
    learner = build_learner(stage.learner, table_task(plan.settings, stage.epsilon))
    assert isinstance(learner, Selection)
    state = State(three.averaged(), stage.rounds)
    kept = learner.columns_kept(state)
    names = [column.name for column in learner.task.columns]
    assert len(kept) == 8
    nets = ("standin_vgg", "standin_inception", "standin_resnet")
    assert [names.index(f"{net}[15]") for net in nets] == [15, 31, 47]
    assert set(kept) <= set(names)
    results = collect_results(three)
    measured = {row.site for row in results.validation if row.status == "measured"}
    assert measured == {"aster", "birch", "dune", "pooled"}
    assert results.training.total == "rows"
    assert "osteoporosis" in render_page(results)
    shown = CliRunner().invoke(app, ["readings", plan.run, "--home", str(hospitals.home.folder)])
    assert shown.exit_code == 0, shown.output
    assert kept[0] in shown.output
    assert plan.predicted.training_epsilon == pytest.approx(2.0, abs=0.06)


def test_one_new_patient_is_read_with_every_encoder_of_the_release(
    hospitals: Hospitals, three: RunStore
) -> None:
    path = read_new_film(
        hospitals.folders, hospitals.sites[0], three.release_folder, three.plan.settings, seed=4
    )
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def cells(hospitals: Hospitals) -> RunStore:
    """Cells of one encoder, the mean token of another, radiomics and clinical fields."""
    return hospitals.play(compose_settings(CELLS), "cells")


def test_cells_of_one_encoder_stand_beside_another_radiomics_and_fields_under_privacy(
    hospitals: Hospitals, cells: RunStore
) -> None:
    plan = cells.plan
    columns = table_task(plan.settings, 2.0).columns
    names = [column.name for column in columns]
    assert (names[0], names[31]) == ("standin_vgg.cell_0_0[0]", "standin_vgg.cell_3_3[1]")
    assert (names[32], names[48], names[64]) == ("standin_resnet[0]", "radiomics[0]", "age")
    measured = {row.site for row in collect_results(cells).validation if row.status == "measured"}
    assert measured == {"aster", "birch", "dune", "pooled"}
    assert plan.predicted.training_epsilon == pytest.approx(2.0, abs=0.06)
    encoders = [source.sha256 for source in plan.settings.features.of_films[:2]]
    assert list(cells.encoders) == encoders
    for name in TRAINED:
        site = open_site(hospitals.folders.site(name))
        cohort = current_cohort(site, "hip_bmd")
        made_by = {"kind": "cells", "encoder": encoders[0], "components": 2, "token_grid": 4}
        block = np.load(block_file(site, cohort, made_by))
        assert block.shape == (len(cohort.images), 32)


def test_a_new_reading_gives_the_bits_that_the_report_was_made_of(
    hospitals: Hospitals, cells: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a heat map measures hundreds of hidden films, and moves no output
    monkeypatch.setattr(predicting, "make_maps", lambda *_, **__: ExamMaps())
    plan, key = cells.plan, hospitals.home.key().public_hex
    release = read_release(cells.release_folder, coordinator_key=key)
    site = open_site(hospitals.folders.site("birch"))
    data = load_split(site, plan, name="hip_bmd", split="internal")
    scores = scorer_of(plan, plan.trained, release.encoder_file).score(release.weights, data.batch)
    of_patient = data.arrays.patient_index
    alone = [place for place, patient in enumerate(of_patient) if (of_patient == patient).sum() == 1]
    assert len(alone) >= 3
    for place in alone[:3]:
        exam = data.arrays.exams[place]
        identity = site.linkage.identity_of(exam.patient)
        assert identity is not None
        archive = hospitals.folders.source("birch") / "films"
        films = sorted(archive.glob(f"{identity.patient_id}_*.dcm"))
        assert len(films) == len(exam.films)
        values = {name: str(value) for name, value in exam.values.items() if value is not None}
        reading = predicting.predict(release, films, values, profile=site.settings.profile)
        expected = scores.exams.outputs[of_patient[place]]
        assert list(reading.probabilities.values()) == expected.tolist(), "to the last bit"


def test_an_encoder_that_one_run_trained_is_a_source_of_the_next_and_both_runs_are_paid_for_life(
    hospitals: Hospitals, three: RunStore, tmp_path: Path
) -> None:
    before = {name: hospitals.spent(name) for name in TRAINED}
    first = hospitals.play(compose_settings(PRETRAINING), "pretraining")
    after_first = {name: hospitals.spent(name) for name in TRAINED}
    packed = tmp_path / "packed.safetensors"
    asked = ["pack", "pretraining", "--out", str(packed), "--home", str(hospitals.home.folder)]
    shown = CliRunner().invoke(app, [*asked, "--json"])
    assert shown.exit_code == 0, shown.output
    source = yaml.safe_load(json.loads(shown.stdout)["source"])
    recipe = read_weights(packed, sha256=source["sha256"])[1]["recipe"]
    assert (
        recipe["release_sha256"]
        == read_release(first.release_folder, coordinator_key=hospitals.home.key().public_hex).sha256
    )
    # the next plan names it by its hash like any other
    own = tmp_path / "own" / "features" / "earlier.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(yaml.safe_dump({"sources": [source | {"components": 4}, {"kind": "clinical"}]}))
    chosen = ("features=earlier", "learner=lda", "privacy.epsilon=2", *READY)
    second = hospitals.play(compose_settings(chosen, own=tmp_path / "own"), "classifier")
    columns = [column.name for column in table_task(second.plan.settings, 2.0).columns]
    assert columns[:5] == [*(f"pretraining[{place}]" for place in range(4)), "age"]
    for name in TRAINED:
        assert open_site(hospitals.folders.site(name)).encoder_file(source["sha256"]).exists()
        # nothing was paid for packing; the ledger composes what both runs cost the same patients
        spent = hospitals.spent(name)
        assert before[name] < after_first[name] < spent
        alone = second.plan.predicted.training_epsilon
        assert spent < after_first[name] + alone, "composition is below the sum"
        assert gaussian_mu(spent, 1e-5) > gaussian_mu(after_first[name], 1e-5)


def test_a_frozen_encoder_is_not_packed_again(hospitals: Hospitals, three: RunStore) -> None:
    asked = ["pack", three.plan.run, "--out", "never", "--home", str(hospitals.home.folder), "--json"]
    refused = CliRunner().invoke(app, asked)
    assert json.loads(refused.stdout)["error"] == "run.no-trained-encoder"
