"""Hospitals with boxes on their spines learn from vertebrae; privacy and intervals go by patient."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from client.cohort.masks import crop_masks
from client.cohort.versions import current_cohort
from client.reading.predict import predict
from client.site.folder import open_site
from server.federation.compose import cohort_file
from server.report.readings import read_again
from server.run.folder import open_run
from server.simulation.simulate import simulate
from server.synthetic.phantoms.folder import write_hospital, write_profile
from shared.contract.release import read_release
from shared.errors import IntakeError
from shared.stages.kinds import sum_of

SITES, N = ("alder", "spruce"), 80


def test_a_federation_over_vertebrae_ends_in_a_report_by_patient(tmp_path: Path) -> None:
    for site in SITES:
        write_hospital(tmp_path / site, "spine", site, 21, n_patients=N)
        write_profile(tmp_path / site / "profile.yaml", "spine", site)
    out = tmp_path / "out"
    found = simulate(
        {site: tmp_path / site for site in SITES},
        cohort=cohort_file("spine_vertebrae"),
        settings=[
            "experiment=dlr_ovf", "privacy.epsilon=8", "validation.epsilon=30",
            "federation.poll_s=0.01",
        ],
        folder=out,
    )  # fmt: skip
    cohorts = [current_cohort(open_site(out / "sites" / site), "spine_vertebrae") for site in SITES]
    # every patient has several crops, and they are measured within their masks
    n_crops = sum(len(cohort.images) for cohort in cohorts)
    n_patients = sum(len(cohort.patients()) for cohort in cohorts)
    assert n_patients > 1.9 * N
    assert n_crops > 5 * n_patients
    for cohort in cohorts:
        masks = crop_masks(cohort)
        assert masks is not None
        assert all(mask is not None for mask in masks)
        assert all(film.unit for exam in cohort.exams for film in exam.films)
    # the report counts patients: noise of ε 30 is far smaller than what crops would count for
    held_out = sum(len(cohort.patients("internal")) for cohort in cohorts)
    [row] = [row for row in found.results.validation if row.is_pooled and row.kind == "internal"]
    n_measured = row.measures.n_patients
    assert abs(n_measured.value - held_out) < held_out
    assert n_measured.high < 3 * held_out < n_crops * held_out / n_patients
    assert all(each.training_epsilon <= 8 for each in found.results.privacy if each.training_epsilon)
    # each grade against the others, their mean, and the table of true against called
    told = {name for each in found.results.further for name in each.figures or ()}
    assert {"macro AUC", "κ", "AUC, mild"} <= told, "the worst grade's AUC is the endpoint's"
    # the choice and how stable it is come from one noised matrix of 32 columns and the grade
    store = open_run(out / "coordinator" / "runs" / "simulation")
    stage = store.plan.trained
    assert stage is not None
    assert sum_of(store.plan, stage, encoder_file=None).bound(1).length == 34 * 35 // 2
    readings = read_again(store.plan, store.stage(stage.name).last_committed().state)
    assert len(readings.kept) == 16
    assert len(readings.stability) == 32
    assert [each.column for each in readings.stability if each.is_kept] == list(readings.kept)
    assert sum(each.frequency for each in readings.stability) == pytest.approx(16)
    # the release reads a film's vertebrae as the intake did
    release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    source = tmp_path / SITES[0]
    film = next((source / "films").iterdir())
    shutil.copytree(source / "masks", tmp_path / "masks")
    own = open_site(out / "sites" / SITES[0])
    with pytest.raises(IntakeError, match="crops films by boxes"):
        predict(release, [film], {"age": "70", "sex": "female"}, profile=own.settings.profile)
    # two of its vertebrae: each is asked for a map, by hiding one place after another
    names, *lines = (source / "boxes.csv").read_text().splitlines()
    two = [line for line in lines if line.startswith(f"{film.stem},")][:2]
    (tmp_path / "boxes.csv").write_text("\n".join([names, *two, ""]))
    reading = predict(
        release,
        [film],
        {"age": "70", "sex": "female"},
        profile=own.settings.profile,
        boxes=tmp_path / "boxes.csv",
        masks=tmp_path / "masks",
    )
    kept = {image.tobytes() for image in np.asarray(cohorts[0].images, dtype=np.float32)}
    assert {image.tobytes() for image in reading.films} <= kept
    assert len(reading.films) == 2
