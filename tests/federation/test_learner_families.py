"""One small private federation per family of learners, from DICOM films to the report.

A learner that stands in no family and runs over films nowhere else is a family of its own.

Each run is trained, released, measured at home and at a hospital that never trained, and read; what is
asserted is checked against the hospitals' own patients, not against another figure of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from film_hospitals import SIZES, Hospitals
from scipy.stats import chi2, spearmanr

from client.reading.predict import predict
from server.federation.compose import CONFIGS, compose_settings
from server.report.collect import collect_results
from server.report.page import render_page
from server.run.folder import RunStore
from shared.contract.decision import decision_of
from shared.contract.release import read_release
from shared.contract.stages import LearnerStage
from shared.exam.schema import Split
from shared.features.columns import Columns
from shared.learners.table import build_learner
from shared.privacy.accountant import epsilon_of, gaussian_mu
from shared.privacy.events import GaussianEvent
from shared.privacy.noise import NoiseStream
from shared.stages.learner import LearnerSum, table_task
from shared.stages.scores import scorer_of
from shared.sums.contract import State
from shared.sums.federate import Noise, federate
from shared.sums.total import exact_total_of

pytestmark = pytest.mark.federation

RADIOMICS = ("features=radiomics", "encoder=none", "fusion=clinical_only")
BESIDE_THE_IMAGE = ("features=image_radiomics",)
CLASSES = ("experiment=bmd_classes",)
# A choice is asked at the ε of these runs too, where the shipped settings keep all columns.
CHOICE = "learner.by.shares=[{up_to_epsilon: 50, share: 0.2}]"


@dataclass(frozen=True)
class Family:
    """What a data scientist types, at a size that takes seconds; learners whose sums are alike."""

    chosen: tuple[str, ...]
    learners: tuple[str, ...]


FAMILIES: Mapping[str, Family] = {
    "steps of one score": Family(
        (*CLASSES, "learner=proportional_odds", "learner.sums=3"),
        ("proportional_odds", "logistic", "linear_svm"),
    ),
    "steps of a network": Family(
        (*CLASSES, *RADIOMICS, "learner=mlp", "learner.sums=3", "learner.hidden=4"), ("mlp",)
    ),
    "sums by class": Family((*CLASSES, *RADIOMICS, "learner=naive_bayes"), ("naive_bayes",)),
    "sums by class and a matrix": Family((*CLASSES, *BESIDE_THE_IMAGE, "learner=lda"), ("lda",)),
    "a matrix": Family(("fusion=linear", "learner=second_moments"), ("second_moments",)),
    "soft neighbours": Family(
        (*CLASSES, *RADIOMICS, "learner=soft_neighbours", "learner.frequencies=64"),
        ("soft_neighbours",),
    ),
    "public trees": Family(
        (*CLASSES, *BESIDE_THE_IMAGE, "learner=forest", "learner.trees=20"), ("forest",)
    ),
    "boosted public trees": Family(
        (*CLASSES, *BESIDE_THE_IMAGE, "learner=boosting", "learner.rounds=3", "learner.trees=10"),
        ("boosting",),
    ),
    "columns chosen, then steps": Family(
        (*CLASSES, *RADIOMICS, "learner=selection", "learner.keep=12", "learner.then.sums=3", CHOICE),
        ("selection",),
    ),
    "columns of a path, then steps": Family(
        (*CLASSES, *RADIOMICS, "learner=lasso", "learner.keep=12", "learner.then.sums=3"), ("lasso",)
    ),
    "representatives of public clusters": Family(
        ("experiment=cssc", "learner.then.sums=3"), ("representatives",)
    ),
}
# Runs of their own, by file, and what stands there; hospitals of films here follow nobody, so that a
# time to event is played over tables.
ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "clusters_mlp": ("test_feature_sources.py", "learner=clusters_mlp"),
    "gradient": ("test_learning_encoders.py", "-> GradientStage:"),
    "proportional_hazards": ("test_survival.py", "learner=proportional_hazards"),
}
OPTIONS = sorted(path.stem for path in (CONFIGS / "learner").glob("*.yaml"))
LISTED = [*(learner for family in FAMILIES.values() for learner in family.learners), *ELSEWHERE]
RUNS = FAMILIES | {
    option: Family((*CLASSES, *RADIOMICS, f"learner={option}"), (option,))
    for option in OPTIONS
    if option not in LISTED
}
TRAINING = ("aster", "birch")
# So few patients teach little under a usual one.
EPSILON = 16.0
# Of the mean rank correlation over draws of the noise: with no patients it is 0, SD .04 to .09, with
# those of these hospitals .39 to .63; of one draw the SD is .02 to .12.
ABOVE_CHANCE, DRAWS = 0.25, 16
_AS_RUN = str.maketrans({" ": "-", "_": "-", ",": None})
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
    def n_declared(self) -> float:
        """Patients that the training hospitals declare together."""
        return float(sum(self.store.plan.entry(name).declared_patients for name in TRAINING))

    @property
    def columns(self) -> list[Columns]:
        """The training patients of each hospital, as the learner takes them."""
        return [self.columns_of(name, "train") for name in TRAINING]

    def columns_of(self, name: str, split: Split | None) -> Columns:
        """A hospital's patients, likewise."""
        asked = LearnerSum(self.store.plan, self.stage, None)
        return asked.columns_of(self.hospitals.patients(self.store, name, split).batch)


@pytest.fixture(scope="module", params=RUNS)
def played(request: pytest.FixtureRequest, hospitals: Hospitals) -> Played:
    chosen = (*RUNS[request.param].chosen, f"privacy.epsilon={EPSILON:g}", "federation.poll_s=0.01")
    settings = compose_settings([*chosen, "is_synthetic=true"])
    return Played(hospitals, hospitals.play(settings, str(request.param).translate(_AS_RUN)))


def test_every_learner_that_can_be_chosen_runs_in_one_place() -> None:
    of_a_run = [learner for family in RUNS.values() for learner in family.learners]
    assert sorted([*of_a_run, *ELSEWHERE]) == OPTIONS


@pytest.mark.parametrize("learner", ELSEWHERE)
def test_a_learner_that_runs_elsewhere_is_asked_for_there(learner: str) -> None:
    file, asked = ELSEWHERE[learner]
    assert asked in (Path(__file__).parent / file).read_text()


@pytest.mark.parametrize("name", RUNS)
def test_learners_of_one_family_ask_their_first_sum_by_the_same_part(name: str) -> None:
    settings = [compose_settings([*CLASSES, f"learner={each}"]).learner for each in RUNS[name].learners]
    task = table_task(compose_settings([*CLASSES]), EPSILON)
    if len(settings) > 1:  # alone it is like itself, whatever it learns
        learners = [vars(build_learner(each, task)).values() for each in settings]
        asked = [{type(part) for part in parts if hasattr(part, "rows")} for parts in learners]
        assert all(asked)
        assert len(set.union(*asked)) == 1


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
    state = learner.start()
    for number in range(1, stage.rounds + 1):
        accepted = played.store.training.journal(0).read(number).accepted
        total = np.sum([accepted[name].reply.total for name in TRAINING], axis=0)
        sd = stage.noise_of(number) * learner.bound(state) * math.sqrt(len(TRAINING))
        state = learner.advance(state, total, sd=sd, n_declared=played.n_declared)
    key = played.hospitals.home.key().public_hex
    release = read_release(played.store.release_folder, coordinator_key=key)
    np.testing.assert_allclose(release.weights, state.vector, rtol=1e-12, atol=1e-12)


def test_without_noise_the_hospitals_train_what_their_pooled_patients_train(played: Played) -> None:
    stage, task = played.stage, table_task(played.store.plan.settings, 0.0)
    learner, columns = build_learner(stage.learner, task), played.columns
    parts = (np.concatenate([getattr(each, of) for each in columns]) for of in ("columns", "target"))
    joined = Columns(*parts)
    apart = federate(learner, columns, n_declared=32.0)
    pooled = federate(learner, [joined], n_declared=32.0)
    # of each patient, since of columns that say the same either may enter a path
    said = [learner.predict(state, joined) for state in (apart, pooled)]
    np.testing.assert_allclose(*said, rtol=1e-6, atol=1e-6)
    alone = federate(learner, columns[:1], n_declared=32.0)
    assert np.abs(alone.vector - pooled.vector).max() > 1e-3, "the other hospital adds nothing"


def test_each_ledger_holds_the_price_that_the_plan_predicted(played: Played) -> None:
    plan, stage = played.store.plan, played.stage
    for name in TRAINING:
        ledger = played.hospitals.gate(name).ledger
        rows = [row for row in ledger.show() if (row.kind, row.run) == ("charge", plan.run)]
        events = [
            GaussianEvent(noise_multiplier=float(row.noise_multiplier or 0), steps=int(row.steps or 0))
            for row in rows
            if row.stage == "train"
        ]
        assert len(events) == stage.rounds
        spent = epsilon_of(events, plan.settings.delta)
        assert spent == pytest.approx(plan.predicted.training_epsilon, rel=1e-9)
        assert 0.97 * EPSILON < spent <= EPSILON


def test_under_the_plans_noise_the_sums_teach_who_has_more_bone(played: Played) -> None:
    stage, plan = played.stage, played.store.plan
    learner = build_learner(stage.learner, table_task(plan.settings, stage.epsilon))
    everybody = [played.columns_of(name, None) for name in SIZES]
    label = np.concatenate([patients.target for patients in everybody])
    noise, ranks = Noise(gaussian_mu(EPSILON, plan.settings.delta), NoiseStream()), []
    for _ in range(DRAWS):
        state = federate(learner, played.columns, n_declared=played.n_declared, noise=noise)
        outputs = np.concatenate([learner.predict(state, patients) for patients in everybody])
        # classes are ordered: their mean place by the probabilities, or the number itself
        place = outputs @ np.arange(outputs.shape[1]) if outputs.shape[1] > 1 else outputs[:, 0]
        ranks.append(spearmanr(place, label).statistic)
    assert np.mean(ranks) > ABOVE_CHANCE


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
