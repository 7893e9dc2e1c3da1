"""A plan in a few lines: its own numbers, and words where nothing is promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_patients import practice_settings, read
from practice_plan import plan_of
from practice_report import NOISE, found_run

from server.report.plan_facts import plan_facts
from shared.contract.settings import read_settings
from shared.learners.table import read_learner
from shared.privacy.accountant import gaussian_epsilon


def test_plan_facts_are_the_plans(tmp_path: Path) -> None:
    facts = plan_facts(found_run(tmp_path, noise=NOISE).plan)
    assert facts["rounds × steps"] == "3 × 1 = 3 steps"
    assert facts["folded at"] == "site"
    assert facts["model"] == "none + clinical_only"
    epsilon = gaussian_epsilon(1 / NOISE, 1e-5)
    assert facts["epsilon, validation patient"] == pytest.approx(epsilon, abs=1e-6)
    assert facts["epsilon, description"] == "none is released"


def test_a_plan_without_privacy_says_so(tmp_path: Path) -> None:
    facts = plan_facts(found_run(tmp_path).plan)
    assert facts["epsilon, training patient"] == "no formal privacy guarantee"
    assert str(facts["epsilon, validation patient"]).startswith("governed")


def test_a_plan_that_only_measures_has_no_training_to_tell(tmp_path: Path) -> None:
    plan = found_run(tmp_path, noise=NOISE).plan
    facts = plan_facts(plan.model_copy(update={"stages": plan.tables}))
    assert not {"rounds × steps", "clip norm", "epsilon, training patient"} & set(facts)
    assert "epsilon, validation patient" in facts


def test_a_learner_is_told_by_its_name_and_its_sums() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    settings |= {"learner": read("learner/second_moments")}
    facts = plan_facts(plan_of(read_settings(settings), {"aster": 60}))
    assert (facts["learner"], facts["sums"]) == ("second_moments", 2)
    assert "clip norm" not in facts


def test_a_learner_that_asks_no_clusters_says_so_with_the_noise_that_they_would_have() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    settings |= {"learner": read("learner/second_moments")}
    plan, clusters = plan_of(read_settings(settings), {"aster": 60}), read("learner/clusters_mlp")
    for noise, said in (
        (0.87, "the noise of clusters would be 0.87 of a variance"),
        (0.1, "selection"),
    ):
        learner = read_learner(clusters | {"by": clusters["by"] | {"noise": noise}})
        stage = plan.stages[0].model_copy(update={"learner": learner})
        facts = plan_facts(plan.model_copy(update={"stages": (stage, *plan.stages[1:])}))
        assert said in str(facts["learner"])
        assert ("by public sizes" in str(facts["learner"])) == (noise > 0.1)


def test_a_plan_says_whose_patients_they_are_and_what_it_runs(tmp_path: Path) -> None:
    plan = found_run(tmp_path, noise=NOISE).plan
    facts = plan_facts(plan)
    assert facts["patients"] == "of hospitals"
    assert (facts["run"], facts["plan"], facts["code"]) == ("practice", plan.sha256, plan.code_sha256)
    assert facts["unit, adjacency, delta"] == "patient, add/remove, 1e-05"
    settings = plan.settings.model_copy(update={"is_synthetic": True})
    assert plan_facts(plan.model_copy(update={"settings": settings}))["patients"] == "synthetic"
    stage = plan.training
    assert stage is not None
    assert [facts[name] for name in ("learning rate", "clip norm", "noise multiplier")] == [
        *(stage.learning_rate, stage.clip_norm, stage.noise_multiplier)
    ]


def test_a_description_has_its_own_price_and_an_exact_one_none() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    settings["validation"] |= {"description_epsilon": 1.0}
    plan = plan_of(read_settings(settings), {"aster": 3000, "birch": 3000})
    facts = plan_facts(plan)
    assert facts["epsilon, description"] == plan.predicted.description_epsilon
    assert facts["epsilon, description"] == pytest.approx(1.0, abs=0.02)
    exact = plan.predicted.model_copy(update={"description_epsilon": None})
    told = plan_facts(plan.model_copy(update={"predicted": exact}))
    assert str(told["epsilon, description"]).startswith("governed: exact")


def test_a_plan_says_before_anything_is_spent_what_every_gate_would_refuse() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    request = {"groups": ["internal"], "epsilon": 2.0, "measure": {"kind": "errors", "edges": [0.05]}}
    settings["measures"] = {"errors": request}
    for release_class, told in (
        ("dp", "nothing"),
        ("governed", "internal and errors_internal ask exact numbers of the same patients"),
    ):
        settings["validation"]["release_class"] = release_class
        facts = plan_facts(plan_of(read_settings(settings), {"aster": 3000, "birch": 3000}))
        assert str(facts["would stop it"]).startswith(told)
