"""Arms: who trains together, of which declared size, and that films of several stores come along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_patients import practice_patients

from server.federation.compose import compose_settings
from server.simulation.arms import (
    Arm,
    arms_of,
    clinical_only,
    plan_arm,
    score_arm,
    train_arm,
    train_further,
    untrained,
)
from shared.contract.decision import decision_of
from shared.errors import PlanError, RunError
from shared.learners.table import LEARNERS
from shared.model.build import build_model
from shared.model.weights import flatten_weights

SIZES = {"ash": 8, "elm": 12}


def test_every_arm_has_the_patients_and_the_size_of_its_sites() -> None:
    patients = {site: practice_patients(n) for site, n in SIZES.items()}
    arms = arms_of(patients, {"ash": 10, "elm": 20})
    assert list(arms) == ["federated", "pooled", "ash alone", "elm alone"]
    assert {site: len(batch) for site, batch in arms["federated"].patients.items()} == SIZES
    assert dict(arms["pooled"].declared) == {"pooled": 30}
    assert len(arms["pooled"].patients["pooled"]) == 20
    assert dict(arms["elm alone"].declared) == {"elm": 20}
    together = torch.cat([batch.target for batch in patients.values()])
    assert torch.equal(arms["pooled"].patients["pooled"].target, together)


def test_pooled_films_are_each_sites_own_though_their_numbers_are_alike() -> None:
    def with_store(brightness: float):
        batch = practice_patients(2)
        number = torch.tensor([[1, 0], [2, 0]])
        return replace(
            batch,
            tokens=number,
            film_exam=torch.tensor([[0, -1], [0, -1]]),
            film_maker=torch.zeros(2, 2, dtype=torch.int64),
            films=torch.full((2, 4, 4), brightness),
        )

    patients = {"ash": with_store(1.0), "elm": with_store(5.0)}
    pooled = arms_of(patients, SIZES)["pooled"].patients["pooled"]
    assert pooled.films is None
    assert pooled.tokens[:, 0].mean(dim=(1, 2)).tolist() == [1, 1, 5, 5]


def test_the_plan_of_an_arm_is_resolved_for_its_own_roster() -> None:
    settings = compose_settings(["fusion=linear", "privacy.epsilon=1"])
    alone, both = (
        plan_arm(settings, sizes, run="arms") for sizes in ({"ash": 50}, {"ash": 50, "elm": 150})
    )
    assert [entry.weight for entry in both.roster] == [0.25, 0.75]
    assert [entry.weight for entry in alone.roster] == [1.0]
    assert alone.predicted.training_epsilon == both.predicted.training_epsilon


def test_an_arm_of_nobody_is_refused() -> None:
    with pytest.raises(PlanError):
        train_arm(compose_settings(["fusion=linear"]), Arm({}, {}), run="arms")


def test_an_arm_learns_with_the_noise_of_its_settings() -> None:
    settings = [
        compose_settings(["encoder=none", "fusion=clinical_only", "federation.rounds=2", privacy])
        for privacy in ("privacy=off", "privacy.epsilon=1")
    ]
    arm = Arm({"ash": practice_patients(30)}, {"ash": 30})
    exact = [train_arm(settings[0], arm, run="arms").weights for _ in range(2)]
    noised = [train_arm(settings[1], arm, run="arms").weights for _ in range(2)]
    assert np.array_equal(*exact)
    assert not np.array_equal(*noised)


def test_an_arm_of_clinical_fields_alone_has_the_schedule_of_its_own_head() -> None:
    settings = compose_settings(["schedule=few_messages", "privacy.epsilon=1"])
    found = clinical_only(settings)
    assert found is not None
    assert (found.fusion.name, found.encoder.name) == ("clinical_only", "none")
    assert found.privacy == settings.privacy
    sizes = {"ash": 50, "elm": 150}
    words = ["fusion=clinical_only", "encoder=none", "privacy.epsilon=1", "schedule=few_messages"]
    own = compose_settings(words)
    stages = [plan_arm(each, sizes, run="arms").trained for each in (found, own, settings)]
    assert stages[0] == stages[1] != stages[2]


def test_an_arm_of_clinical_fields_is_planned_beside_a_measure_that_only_films_have() -> None:
    found = clinical_only(compose_settings(["measure=[bone,errors]", "fusion=linear"]))
    assert found is not None
    assert plan_arm(found, {"ash": 50}, run="arms").measures == ()


@pytest.mark.parametrize("experiment", ["cssc", "dlr_ovf"])
def test_where_columns_of_films_are_chosen_the_clinical_arm_keeps_all_its_own(experiment: str) -> None:
    settings = compose_settings([f"experiment={experiment}"])
    found = clinical_only(settings)
    assert found is not None
    assert found.learner == settings.learner.then  # type: ignore[union-attr]
    plan = plan_arm(found, {"aster": 100, "birch": 120}, run="clinical")
    assert plan.trained is not None


@pytest.mark.parametrize(
    "overrides", [["encoder=none", "fusion=clinical_only"], ["fusion=clinical_only"]]
)
def test_where_no_film_is_read_there_is_no_arm_without_films(overrides: list[str]) -> None:
    assert clinical_only(compose_settings(overrides)) is None


def test_a_cohort_without_clinical_fields_has_no_arm_of_them_alone() -> None:
    assert clinical_only(compose_settings(cohort="mura_wrist")) is None


def test_an_arm_without_films_says_the_same_whatever_films_there_are() -> None:
    settings = clinical_only(compose_settings(["privacy=off", "fusion=linear"]))
    assert settings is not None
    batch = practice_patients(30)
    assert batch.tokens.shape[1] > 0
    numbers = torch.arange(batch.film_exam.numel()).reshape(batch.film_exam.shape)
    filmed = replace(batch, tokens=numbers, films=torch.full((numbers.numel(), 4, 4), 7.0))
    plain, other = (
        train_arm(settings, Arm({"ash": each}, {"ash": 30}), run="arms") for each in (batch, filmed)
    )
    assert np.array_equal(plain.weights, other.weights)
    assert np.array_equal(score_arm(plain, batch).outputs, score_arm(plain, filmed).outputs)


def test_training_further_moves_a_release_a_little_at_one_hospital() -> None:
    settings = compose_settings(["encoder=none", "fusion=clinical_only", "privacy.epsilon=8"])
    ash = Arm({"ash": practice_patients(400)}, {"ash": 400})
    elm = Arm({"elm": practice_patients(300, seed=5)}, {"elm": 300})
    release = train_arm(settings, ash, run="arms")
    further = train_further(release, settings, elm, run="arms")
    assert [entry.site for entry in further.plan.roster] == ["elm"]
    assert further.plan.predicted.training_epsilon == pytest.approx(8.0, abs=0.05)
    start = untrained(release.plan).weights
    moved, own = further.weights - release.weights, release.weights - start
    assert 0 < np.linalg.norm(moved) < np.linalg.norm(own)


def test_a_learner_of_tables_cannot_be_trained_further() -> None:
    settings = compose_settings(["learner=second_moments", "encoder=none", "fusion=clinical_only"])
    arm = Arm({"ash": practice_patients(60)}, {"ash": 60})
    with pytest.raises(PlanError) as caught:
        train_further(untrained(plan_arm(settings, {"ash": 60}, run="arms")), settings, arm, run="arms")
    assert caught.value.code == "plan.cannot-go-on"


def test_two_hospitals_or_no_price_train_nothing_further() -> None:
    words = ["encoder=none", "fusion=clinical_only"]
    batch = practice_patients(60)
    release = untrained(plan_arm(compose_settings(words), {"ash": 60}, run="arms"))
    both, one = Arm({"ash": batch, "elm": batch}, SIZES), Arm({"ash": batch}, {"ash": 60})
    for settings, arm in (
        (compose_settings(words), both),
        (compose_settings([*words, "privacy=off"]), one),
    ):
        with pytest.raises(RunError) as caught:
            train_further(release, settings, arm, run="arms")
        assert caught.value.code == "run.cannot-go-on"


def test_an_untrained_model_is_its_initial_weights() -> None:
    plan = plan_arm(compose_settings(["fusion=linear"]), {"ash": 30}, run="arms")
    model = build_model(plan.settings, generator_seed=plan.settings.seed)
    assert np.array_equal(untrained(plan).weights, flatten_weights(model))


@pytest.mark.parametrize("kind", LEARNERS)
def test_an_untrained_learner_says_the_same_of_everybody(kind: str) -> None:
    of_a_time = ["experiment=hip_fracture", "privacy.clip_norm=0.5"]
    suited = {"second_moments": [], "proportional_hazards": of_a_time}
    task = suited.get(kind, ["task=bmd_classes"])
    settings = compose_settings([*task, f"learner={kind}", "encoder=none", "fusion=clinical_only"])
    plan, batch = plan_arm(settings, {"ash": 60, "elm": 60}, run="arms"), practice_patients(20)
    outputs = score_arm(untrained(plan), batch).outputs
    assert len(outputs) == len(batch)
    expected = 1 / outputs.shape[1] if task else settings.task.target_mean
    within = 1e-6
    if settings.task.kind == "survival":  # of a fracture, before which some die
        outputs, within = decision_of(settings).score(outputs), 0.05
        expected = settings.cohort.label.reference_risk
    assert outputs == pytest.approx(np.full(outputs.shape, expected), rel=within)
    assert np.ptp(outputs, axis=0).max() == 0.0, "exactly, so that nobody is ranked"
