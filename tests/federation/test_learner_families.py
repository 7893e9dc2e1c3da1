"""One small private federation per family of learners, from DICOM films to the report.

Each run is trained, released, measured at home and at a hospital that never trained, and read; what is
asserted is checked against the hospitals' own patients, not against another figure of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from film_hospitals import Hospitals
from scipy.stats import chi2

from client.gate.gate import open_gate
from client.reading.predict import predict
from server.federation.compose import compose_settings
from server.report.collect import collect_results
from server.report.page import render_page
from server.run.folder import RunStore
from shared.contract.decision import decision_of
from shared.contract.release import read_release
from shared.contract.stages import LearnerStage
from shared.features.columns import Columns
from shared.learners.table import build_learner
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent
from shared.stages.learner import LearnerSum, table_task
from shared.stages.scores import scorer_of
from shared.sums.contract import State
from shared.sums.federate import federate
from shared.sums.total import exact_total_of

pytestmark = pytest.mark.federation

RADIOMICS = ("features=radiomics", "encoder=none", "fusion=clinical_only")
BESIDE_THE_IMAGE = ("features=image_radiomics",)
CLASSES = ("experiment=bmd_classes",)
# By family: what a data scientist types, at a size that takes seconds.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "steps of one score": (*CLASSES, "learner=proportional_odds", "learner.sums=3"),
    "steps of a network": (*CLASSES, *RADIOMICS, "learner=mlp", "learner.sums=3", "learner.hidden=4"),
    "sums by class": (*CLASSES, *RADIOMICS, "learner=naive_bayes"),
    "sums by class and a matrix": (*CLASSES, *BESIDE_THE_IMAGE, "learner=lda"),
    "public trees": (*CLASSES, *BESIDE_THE_IMAGE, "learner=forest", "learner.trees=20"),
}
TRAINING = ("aster", "birch")
# Chance that noise of the right size is called wrong.
_BEYOND = 1e-9


@dataclass(frozen=True)
class Played:
    """A finished run, and what every test looks at of it."""

    hospitals: Hospitals
    store: RunStore

    @property
    def stage(self) -> LearnerStage:
        stage = self.store.plan.trained
        assert isinstance(stage, LearnerStage)
        return stage

    @property
    def columns(self) -> list[Columns]:
        """The training patients of each hospital, as the learner takes them."""
        asked = LearnerSum(self.store.plan, self.stage, None)
        return [asked.columns_of(self.hospitals.patients(self.store, name).batch) for name in TRAINING]


@pytest.fixture(scope="module", params=FAMILIES)
def played(request: pytest.FixtureRequest, hospitals: Hospitals) -> Played:
    chosen = [*FAMILIES[request.param], "privacy.epsilon=3", "federation.poll_s=0.01"]
    run = str(request.param).replace(" ", "-")
    store = hospitals.approved_run(compose_settings([*chosen, "is_synthetic=true"]), run)
    hospitals.play(store, "internal", "external")
    return Played(hospitals, store)


def test_every_hospital_is_measured_and_the_report_says_so(played: Played) -> None:
    results = collect_results(played.store)
    found = {(row.kind, row.site) for row in results.validation if row.status == "measured"}
    internal = {("internal", site) for site in (*TRAINING, "pooled")}
    assert found == internal | {("external", "dune")}
    page = render_page(results)
    assert all(site in page for site in (*TRAINING, "dune"))


def test_what_left_a_hospital_is_its_patients_sum_and_noise_of_the_plans_size(played: Played) -> None:
    plan, stage = played.store.plan, played.stage
    learner = build_learner(stage.learner, table_task(plan.settings, stage.epsilon))
    for number in range(1, stage.rounds + 1):
        state = State(played.store.training.committed(number - 1).vector, number - 1)
        totals = played.store.training.journal(0).read(number).accepted
        assert tuple(totals) == TRAINING
        for name, patients in zip(TRAINING, played.columns, strict=True):
            total = totals[name].reply.total
            noise = total - exact_total_of(learner, state, patients)
            sd = stage.noise_of(number) * learner.bound(state)
            low, high = chi2.ppf((_BEYOND, 1 - _BEYOND), df=noise.size)
            assert low < float(noise @ noise) / sd**2 < high


def test_the_release_is_what_the_learner_makes_of_the_totals_added(played: Played) -> None:
    plan, stage = played.store.plan, played.stage
    learner = build_learner(stage.learner, table_task(plan.settings, stage.epsilon))
    n_declared = float(sum(plan.entry(name).declared_patients for name in TRAINING))
    state = learner.start()
    for number in range(1, stage.rounds + 1):
        accepted = played.store.training.journal(0).read(number).accepted
        total = np.sum([accepted[name].reply.total for name in TRAINING], axis=0)
        sd = stage.noise_of(number) * learner.bound(state) * math.sqrt(len(TRAINING))
        state = learner.advance(state, total, sd=sd, n_declared=n_declared)
    key = played.hospitals.home.key().public_hex
    release = read_release(played.store.release_folder, coordinator_key=key)
    np.testing.assert_allclose(release.weights, state.vector, rtol=1e-12, atol=1e-12)


def test_without_noise_the_hospitals_train_what_their_pooled_patients_train(played: Played) -> None:
    stage, task = played.stage, table_task(played.store.plan.settings, 0.0)
    learner, columns = build_learner(stage.learner, task), played.columns
    joined = (np.concatenate([getattr(each, of) for each in columns]) for of in ("columns", "target"))
    apart = federate(learner, columns, n_declared=32.0)
    pooled = federate(learner, [Columns(*joined)], n_declared=32.0)
    np.testing.assert_allclose(apart.vector, pooled.vector, rtol=1e-6, atol=1e-6)
    alone = federate(learner, columns[:1], n_declared=32.0)
    assert np.abs(alone.vector - pooled.vector).max() > 1e-3, "the other hospital adds nothing"


def test_each_ledger_holds_the_price_that_the_plan_predicted(played: Played) -> None:
    plan, stage = played.store.plan, played.stage
    for name in TRAINING:
        site = played.hospitals.site(name)
        gate = open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)
        rows = [row for row in gate.ledger.show() if (row.kind, row.run) == ("charge", plan.run)]
        events = [
            GaussianEvent(noise_multiplier=float(row.noise_multiplier or 0), steps=int(row.steps or 0))
            for row in rows
            if row.stage == "train"
        ]
        assert len(events) == stage.rounds
        spent = epsilon_of(events, plan.settings.delta)
        assert spent == pytest.approx(plan.predicted.training_epsilon, rel=1e-9)
        assert 2.9 < spent <= 3.0


def test_a_film_is_read_as_the_patient_was_scored_in_the_cohort(played: Played) -> None:
    plan, key = played.store.plan, played.hospitals.home.key().public_hex
    release = read_release(played.store.release_folder, coordinator_key=key)
    data = played.hospitals.patients(played.store, "birch")
    scores = scorer_of(plan, plan.trained, release.encoder_file).score(release.weights, data.batch)
    place = next(place for place, exam in enumerate(data.arrays.exams) if len(exam.films) == 1)
    exam, site = data.arrays.exams[place], played.hospitals.site("birch")
    identity = site.linkage.identity_of(exam.patient)
    assert identity is not None
    [film] = (played.hospitals.folders.source("birch") / "films").glob(f"{identity.patient_id}_*.dcm")
    values = {name: str(value) for name, value in exam.values.items() if value is not None}
    reading = predict(release, [film], values, profile=site.settings.profile)
    rule = decision_of(plan.settings)
    expected = scores.exams.outputs[place]
    found = [reading.value] if rule.is_regression else list(reading.probabilities.values())
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
