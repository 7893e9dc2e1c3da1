"""The work of a round is that of its places: no shape of it tells who, or how many, are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from practice_learners import learner_plan, stage_of
from practice_patients import practice_patients, practice_settings
from practice_plan import plan_of, trained
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

import shared.learners.second_moments
import shared.stages.description
import shared.stages.gradient
import shared.stages.learner
import shared.stages.measure
import shared.stages.table
import shared.sums.total
import shared.train.patient_gradients
from shared.contract.capacity import capacity_of
from shared.contract.settings import ValidationSettings
from shared.contract.stages import DescriptionStage, MeasureStage, TableStage
from shared.features.columns import Columns, make_columns
from shared.stages.description import DescriptionSum, FirstExams
from shared.stages.gradient import GradientSum
from shared.stages.learner import LearnerSum
from shared.stages.measure import MeasureSum
from shared.stages.stage_sum import StageSum
from shared.stages.table import TableSum
from shared.train.patients import PatientBatch, join_patients

DECLARED = 110
SITES = {"aster": DECLARED, "birch": 90}
EDGES = (0.05, 0.2, 0.6)
# Every module that asks how many places a stage has.
PADDED = (
    shared.stages.description,
    shared.stages.gradient,
    shared.stages.learner,
    shared.stages.measure,
    shared.stages.table,
)
# More than one chunk of 128 where nothing is padded, and within the capacity of 110.
FEW, MANY = 128, 129
DESCRIBED = ValidationSettings(description_epsilon=1.0, target_low=0.3, target_high=1.0, score_low=0.3)


def gradient_sum(fusion: str, **changes: object) -> StageSum:
    plan = plan_of(practice_settings(fusion), SITES)
    plain = {"fold": "coordinator", "local_steps": 1}
    return GradientSum(plan, trained(plan, **(plain | changes)), None)


def table_sum() -> StageSum:
    plan = plan_of(practice_settings("linear"), SITES)
    stage = plan.stage("internal")
    assert isinstance(stage, TableStage)
    return TableSum(plan, stage, None)


def learner_sum() -> StageSum:
    plan = learner_plan("ridge", SITES, epsilon=8.0)
    return LearnerSum(plan, stage_of(plan), None)


def measure_sum(name: str) -> StageSum:
    """Errors of a learner's release over everybody of an external site."""
    request = {"groups": ["external"], "epsilon": 2.0, "measure": {"kind": "errors", "edges": EDGES}}
    plan = learner_plan(name, SITES, measures={"errors": request}, epsilon=8.0)
    stage = plan.stage("errors_external")
    assert isinstance(stage, MeasureStage)
    return MeasureSum(plan, stage, None)


def heavy_patient() -> PatientBatch:
    """One who fills every place that a patient has: exams, films and fields."""
    patient = practice_patients(1, seed=5)
    exams, films = patient.target.shape[1], patient.film_exam.shape[1]
    patient.exam_mask[:] = True
    patient.field_mask[:] = True
    patient.film_exam[0] = torch.arange(films) % exams
    return patient


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Shapes of whatever a module, a way of gradients or a sum is handed, in order."""
    seen: list[object] = []

    def note(module: nn.Module, inputs: tuple[object, ...]) -> None:
        shapes = [tuple(each.shape) for each in inputs if isinstance(each, torch.Tensor)]
        seen.append((type(module).__name__, shapes))

    def noted(rows: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def run(model: nn.Module, part: PatientBatch, loss: object) -> torch.Tensor:
            seen.append([tuple(tensor.shape) for tensor in part.tensors()])
            return rows(model, part, loss)

        return run

    class Noted:
        """A sum that says over how many it is asked for rows."""

        def __init__(self, asked: object) -> None:
            self._asked = asked

        def rows(self, state: object, patients: object) -> np.ndarray:
            seen.append((type(patients).__name__, len(patients)))  # type: ignore[arg-type]
            rows: np.ndarray = self._asked.rows(state, patients)  # type: ignore[attr-defined]
            return rows

    def noted_table(make: Callable[..., Columns]) -> Callable[..., Columns]:
        def run(patients: PatientBatch, *rest: object, **named: object) -> Columns:
            seen.append([tuple(tensor.shape) for tensor in patients.tensors()])
            return make(patients, *rest, **named)

        return run

    def noted_predict(predict: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def run(learner: object, state: object, columns: Columns) -> np.ndarray:
            seen.append(("predict", len(columns)))
            return predict(learner, state, columns)

        return run

    chunks, moments = shared.sums.total._chunks, shared.learners.second_moments.SecondMoments
    ways = {name: noted(rows) for name, rows in shared.train.patient_gradients.ROWS.items()}
    with monkeypatch.context() as patch:
        patch.setattr(shared.train.patient_gradients, "ROWS", ways)
        patch.setattr(shared.sums.total, "_chunks", lambda asked, *rest: chunks(Noted(asked), *rest))
        patch.setattr(shared.stages.learner, "make_columns", noted_table(make_columns))
        patch.setattr(moments, "predict", noted_predict(moments.predict))
        hook = register_module_forward_pre_hook(note)
        try:
            yield seen
        finally:
            hook.remove()


def answer(asked: StageSum, patients: PatientBatch) -> np.ndarray:
    start = asked.start().vector
    if len(start) != asked.state_length(1):  # what it measures is a release
        start = np.zeros(asked.state_length(1), asked.state_kind)
    moved = (start + np.linspace(-0.2, 0.2, start.size)).astype(start.dtype)
    return asked.answer(
        moved,
        patients,
        round_number=1,
        declared_patients=DECLARED,
        draw_normals=lambda n: np.zeros(n),
    )


def shapes_of(monkeypatch: pytest.MonkeyPatch, asked: StageSum, patients: PatientBatch) -> list[object]:
    with recorded(monkeypatch) as seen:
        answer(asked, patients)
    return seen


def places_in(asked: StageSum) -> int:
    rule, stage = practice_settings("linear").cohort.split, asked._stage  # type: ignore[attr-defined]
    return capacity_of(rule, stage.patients, declared=DECLARED)


def unpadded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in PADDED:
        monkeypatch.setattr(module, "places_of", lambda *_, **__: 0)


SUMS: dict[str, tuple[Callable[[], StageSum], int, int]] = {
    "linear head": (lambda: gradient_sum("linear"), FEW, MANY),
    "cross attention": (lambda: gradient_sum("cross_attention"), FEW, MANY),
    "learner": (learner_sum, FEW, MANY),
    "table": (table_sum, 15, 60),  # of held-out patients; 60 have more exams than a chunk holds
    "measure of a learner": (lambda: measure_sum("ridge"), FEW, MANY),
}


@pytest.mark.parametrize("name", SUMS)
def test_with_and_without_a_heavy_patient_every_shape_is_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make, few, many = SUMS[name]
    asked, others = make(), practice_patients(few, seed=2)
    heavy = join_patients(others, *[heavy_patient()] * (many - few))
    shapes = shapes_of(monkeypatch, asked, others)
    assert len(shapes) > 1
    assert shapes_of(monkeypatch, asked, heavy) == shapes
    assert shapes_of(monkeypatch, asked, others.select([0])) == shapes, "nor does a single patient"
    assert shapes_of(monkeypatch, asked, heavy_patient()) == shapes
    assert shapes_of(monkeypatch, asked, others.select([])) == shapes, "nor does nobody"
    full = practice_patients(places_in(asked), seed=3)
    assert shapes_of(monkeypatch, asked, full) == shapes, "nor does a full split"
    unpadded(monkeypatch)
    assert shapes_of(monkeypatch, asked, heavy) != shapes_of(monkeypatch, asked, others)


@pytest.mark.parametrize("name", SUMS)
def test_places_without_a_patient_add_exactly_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make, few, _ = SUMS[name]
    asked, patients = make(), practice_patients(few, seed=2)
    padded = answer(asked, patients)
    unpadded(monkeypatch)
    assert padded.tobytes() == answer(asked, patients).tobytes()
    assert np.abs(padded).max() > 0


def test_every_module_that_pads_is_among_those_that_are_tried() -> None:
    room = Path(shared.stages.table.__file__).parent
    asking = {path.stem for path in room.glob("*.py") if "places_of(" in path.read_text()}
    assert asking - {"stage_sum"} == {module.__name__.rpartition(".")[2] for module in PADDED}


def test_a_description_of_few_has_the_shapes_of_one_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = practice_settings("linear").model_copy(update={"validation": DESCRIBED})
    plan = plan_of(settings, SITES)
    stage = plan.stage("description")
    assert isinstance(stage, DescriptionStage)
    asked = DescriptionSum(plan, stage, None)

    def shapes(n: int) -> list[object]:
        fields = np.zeros((n, len(settings.cohort.fields)))
        with recorded(monkeypatch) as seen:
            answer(asked, FirstExams(fields, fields == 0, np.full(n, 0.7)))  # type: ignore[arg-type]
        return seen

    assert len(shapes(1)) > 1
    assert shapes(0) == shapes(1) == shapes(FEW) == shapes(MANY)
    unpadded(monkeypatch)
    assert shapes(FEW) != shapes(MANY)


@pytest.mark.parametrize("fold", ["coordinator", "site"])
def test_a_sampled_step_has_the_same_shapes_whoever_is_drawn(
    monkeypatch: pytest.MonkeyPatch, fold: str
) -> None:
    asked = gradient_sum("linear", fold=fold, local_steps=1, sample_rate=0.9)
    others = practice_patients(120, seed=2)
    heavy = join_patients(others, heavy_patient())
    shapes = [shapes_of(monkeypatch, asked, each) for each in [others, heavy] * 4]
    assert shapes == [shapes[0]] * 8
    assert len(shapes[0]) > 1


def test_the_sizes_of_these_tests_are_within_the_places_of_the_declared_size() -> None:
    rule = practice_settings("linear").cohort.split
    assert capacity_of(rule, "train", declared=DECLARED) >= MANY
    assert capacity_of(rule, "internal", declared=DECLARED) >= 60
