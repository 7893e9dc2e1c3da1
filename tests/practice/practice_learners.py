"""Every learner as it can be planned: its settings, and whether it learns a number or classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from practice_patients import practice_patients, practice_settings, read
from practice_plan import plan_of

from shared.contract.plan import Plan
from shared.contract.settings import read_settings
from shared.contract.stages import LearnerStage
from shared.learners.table import LEARNERS
from shared.stages.learner import LearnerSum
from shared.stages.stage_sum import StageState
from shared.train.patients import PatientBatch

SITES = {"aster": 60, "birch": 90}
# By name: the learner's YAML, what is changed in it, and whether it learns classes; a learner that is
# not named stands as it is shipped.
PLANNED: Mapping[str, tuple[str, dict[str, object], bool]] = {
    **{kind: (kind, {}, True) for kind in LEARNERS if kind != "second_moments"},
    "ridge": ("second_moments", {}, False),
    "lasso": ("second_moments", {"read_as": "lasso"}, False),
    "discriminants": ("second_moments", {"read_as": "discriminants"}, True),
    "forest": ("forest", {"trees": 8}, True),
    "soft_neighbours": ("soft_neighbours", {"frequencies": 16}, True),
    "proportional_odds": ("proportional_odds", {"sums": 3}, True),
    "logistic": ("logistic", {"sums": 3}, True),
    "linear_svm": ("linear_svm", {"sums": 3}, True),
    "mlp": ("mlp", {"sums": 3, "hidden": 4}, True),
    "boosting": ("boosting", {"rounds": 2, "trees": 8}, True),
    "selection": ("selection", {"keep": 4, "then": {"kind": "lda"}}, True),
    "proportional_hazards": ("proportional_hazards", {"sums": 3}, True),
}


def learner_plan(
    name: str, sites: Mapping[str, int], *, epsilon: float | None = None, **groups: object
) -> Plan:
    """A plan over the practice patients whose training stage is this learner."""
    kind, changes, has_classes = PLANNED[name]
    settings = practice_settings("linear").model_dump(mode="json")
    settings |= {"learner": {**read(f"learner/{kind}"), **changes}} | groups
    if epsilon is not None:
        settings["privacy"] = {**read("privacy/patient_dp"), "epsilon": epsilon}
    if has_classes:
        settings["task"] = {
            **read("task/classification"),
            "endpoint": "osteoporosis",
            "positive_class": "osteoporosis",
        }
    if kind == "proportional_hazards":
        settings["cohort"] = read("cohort/hip_fracture")
        settings["task"] = {**read("task/survival"), "endpoint": "fracture"}
    return plan_of(read_settings(settings), sites)


def silent(n: int) -> np.ndarray:
    """Noise that is drawn as zero."""
    return np.zeros(n)


def stage_of(plan: Plan) -> LearnerStage:
    """The plan's training stage."""
    stage = plan.trained
    if not isinstance(stage, LearnerStage):
        raise ValueError("the plan trains no learner of tables")
    return stage


def patients_of(plan: Plan) -> list[PatientBatch]:
    """Patients of the two sites; in a plan of classes, with a class each; with columns of films where
    the plan has sources of them."""
    found = [practice_patients(n, seed=n) for n in SITES.values()]
    width, draw = plan.settings.features.layout.film_width, torch.Generator().manual_seed(2)
    if width:
        found = [
            replace(each, film_columns=torch.randn(*each.film_exam.shape, width, generator=draw))
            for each in found
        ]
    if plan.settings.task.kind == "regression":
        return found
    return [replace(each, target=(each.target.abs() * 1.5).floor().clamp(0, 2)) for each in found]


def played(plan: Plan, stage: LearnerStage | None = None) -> list[StageState]:
    """The states of a stage whose noise is drawn as zero, each round asked of both sites."""
    stage = stage or stage_of(plan)
    asked = LearnerSum(plan, stage, None)
    states = [asked.start()]
    for number in range(1, stage.rounds + 1):
        totals = [
            asked.answer(
                states[-1].vector,
                patients,
                round_number=number,
                declared_patients=len(patients),
                draw_normals=silent,
            )
            for patients in patients_of(plan)
        ]
        states.append(asked.advance(states[-1], totals, sites=plan.roster))
    return states
