"""Every sum that the conformance suite holds to the contract; a new one is one line in ``SUMS``.

A learner of tables is here by being in ``shared.learners.table``. Legend: n patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from practice_follow_up import FOLLOWED
from practice_patients import SCHEMA, practice_patients, practice_settings
from practice_validation import spec_of_numbers, spec_of_probabilities

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.contract.settings import MeasureRequest
from shared.contract.stages import DescriptionStage
from shared.features.columns import Columns, name_columns
from shared.learners.table import LEARNERS, build_learner, read_learner
from shared.learners.task import TableTask
from shared.measure.description.rows import description_spec
from shared.measure.description.sum import DescribedPatients, DescriptionRows
from shared.measure.table.spec import TableSpec
from shared.measure.table.sum import TableRows
from shared.measures.scored import ReadsBone, ReplacesFields, Scored
from shared.measures.table import MEASURES, build_measure
from shared.stages.gradient_rows import PatientGradients
from shared.stages.measure import measure_task
from shared.sums.contract import Sum
from shared.sums.one_sum import OneSum
from shared.train.patients import PatientBatch

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CHANNELS = 5
COLUMNS = name_columns(SCHEMA.fields, channels=CHANNELS)
CLASSES = 3
ODD_NUMBERS = np.array(
    [
        np.nan,
        np.inf,
        -np.inf,
        1e300,
        -1e300,
        5e-324,
        -5e-324,
        1e-310,
        -0.0,
        0.0,
        1e18,
        -4.0,
        4.0,
        1.0,
        0.5,
    ]
)


@dataclass(frozen=True)
class Case:
    """A sum, and how to draw n patients for it: usual ones, and such as no cohort has."""

    asked: Sum[Any]
    usual: Callable[[int, np.random.Generator], Any]
    hostile: Callable[[int, np.random.Generator], Any]
    n_hostile: int = 4000


def odd(shape: tuple[int, ...], draw: np.random.Generator) -> Floats:
    """Numbers of which about a row in two is usual, a corner, or holds what is no number."""
    usual = draw.normal(size=shape) * 10.0 ** draw.integers(
        -3, 4, size=(shape[0], *(1,) * (len(shape) - 1))
    )
    corner = draw.choice([-1e300, 1e300, -np.inf, np.inf, -4.0, 4.0, 1e9], size=shape)
    any_of = draw.choice(ODD_NUMBERS, size=shape)
    kind = draw.integers(4, size=(shape[0], *(1,) * (len(shape) - 1)))
    rare = draw.random(shape) < 1.0 / max(shape[-1], 2)
    return np.where(
        kind == 0, usual, np.where(kind == 1, corner, np.where((kind == 2) | rare, any_of, usual))
    )


def odd_target(n: int, n_classes: int, draw: np.random.Generator) -> Floats:
    target = draw.integers(max(n_classes, 1), size=n).astype(np.float64)
    if not n_classes:
        target = draw.choice([-4.0, 4.0, 1e300, 0.3], size=n)
    is_odd = draw.random(n) < 0.2
    return np.where(
        is_odd, draw.choice([np.nan, np.inf, -np.inf, -1.0, 3.0, 0.5, 1e300], size=n), target
    )


def usual_columns(n: int, n_classes: int, draw: np.random.Generator) -> Columns:
    """Patients with a planted relation of the target to the columns."""
    spread = np.array([column.spread for column in COLUMNS])
    is_mark = np.array([column.is_mark for column in COLUMNS])
    values = spread * draw.normal(size=(n, len(COLUMNS)))
    values = np.where(is_mark, (values > 0.2).astype(np.float64), values)
    score = values[:, CHANNELS] - values[:, CHANNELS + 1] + 2.0 * values[:, 0] + draw.normal(size=n)
    if not n_classes:
        return Columns(values, score / 2.0)
    return Columns(values, np.digitize(score, [-0.8, 0.8]).astype(np.float64))


def of_learner(kind: str, n_classes: int = CLASSES, **changes: object) -> Case:
    values = yaml.safe_load((CONFIGS / "learner" / f"{kind}.yaml").read_text())
    task = TableTask(columns=COLUMNS, n_classes=n_classes, is_ordered=True, seed=5, epsilon=3.0)
    if kind == "proportional_hazards":
        task, n_classes = replace(task, n_classes=0, follow_up=FOLLOWED), len(FOLLOWED.classes)
    return Case(
        asked=build_learner(read_learner({**values, **changes}), task),
        usual=lambda n, draw: usual_columns(n, n_classes, draw),
        hostile=lambda n, draw: Columns(odd((n, len(COLUMNS)), draw), odd_target(n, n_classes, draw)),
    )


def drawn_makers(n: int, draw: np.random.Generator) -> tuple[tuple[str, ...], ...]:
    """What headers of a patient's films may say, and what none should."""
    words = ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "Agfa-Gevaert", "\x00", "é"]
    chosen = draw.random((n, len(words))) < 0.2
    return tuple(tuple(word for word, is_in in zip(words, row, strict=True) if is_in) for row in chosen)


def of_measure(file: str, *overrides: str, **changes: object) -> Case:
    """A measure of graded BMD as a YAML has it, or of the task that ``overrides`` name."""
    values = yaml.safe_load((CONFIGS / "measure" / f"{file}.yaml").read_text())
    values["measure"] |= changes
    settings = MeasureRequest.model_validate(values).measure
    composed = compose_settings(list(overrides))
    task = measure_task(composed)
    rule, k = decision_of(composed), len(task.fields)
    o = 1 if rule.is_regression else len(rule.counts_as or rule.classes)
    measure = build_measure(settings, task)
    n_replaced = len(measure.replaced_fields) if isinstance(measure, ReplacesFields) else 0
    n_maps = 0
    if isinstance(measure, ReadsBone):
        n_replaced, n_maps = (2, 0) if measure.reads_bone == "hidden" else (0, 3)

    def usual(n: int, draw: np.random.Generator) -> Scored:
        if rule.is_regression:
            outputs, label = draw.normal(0.7, 0.1, (n, 1)), draw.normal(0.7, 0.1, n)
        else:
            outputs, label = draw.dirichlet(np.ones(o), n), draw.integers(0, o, n).astype(np.float64)
        replaced = np.stack([draw.permutation(outputs) for _ in range(n_replaced)] or [outputs], axis=1)
        fields = np.floor(draw.uniform(0, 90, (n, k)))
        has_masks, maps = draw.random(n) < 0.8, draw.uniform(-0.5, 1.0, (n, n_maps))
        return Scored(outputs, label, fields, drawn_makers(n, draw), replaced, has_masks, maps)

    def hostile(n: int, draw: np.random.Generator) -> Scored:
        values, replaced = odd((n, o + 1 + k), draw), odd((n, n_replaced * o), draw)
        return Scored(
            values[:, :o],
            values[:, o],
            values[:, o + 1 :],
            drawn_makers(n, draw),
            replaced.reshape(n, n_replaced, o),
            draw.random(n) < 0.5,
            odd((n, n_maps), draw) if n_maps else np.zeros((n, 0)),
        )

    return Case(OneSum(measure), usual, hostile)


def of_gradient(fusion: str, *, is_odds: bool = False, **shape: object) -> Case:
    """Training of a head; hostile patients have numbers that no film and no clinic gives."""
    settings = practice_settings(fusion)
    settings = settings.model_copy(update={"fusion": settings.fusion.model_copy(update=shape)})
    if is_odds:
        task = compose_settings(["experiment=xattn_bmd_classes"]).task
        settings = settings.model_copy(update={"task": task})

    def usual(n: int, draw: np.random.Generator) -> PatientBatch:
        patients = practice_patients(n, seed=int(draw.integers(1 << 30)))
        classes = (patients.target > -0.5).float() + (patients.target > 0.5)
        return replace(patients, target=classes) if is_odds else patients

    def hostile(n: int, draw: np.random.Generator) -> PatientBatch:
        patients = usual(n, draw)
        tokens, fields = (
            torch.from_numpy(odd((n, each[0].numel()), draw)).float().reshape(each.shape)
            for each in (patients.tokens, patients.fields)
        )
        is_category = torch.tensor([field.kind == "category" for field in SCHEMA.fields])
        fields = torch.where(is_category, patients.fields, fields)
        return replace(patients, tokens=tokens, fields=fields)

    asked = PatientGradients(settings=settings, sums=4, clip_norm=0.5, learning_rate=0.5)
    return Case(asked, usual, hostile, n_hostile=1000)


def of_table(spec: TableSpec) -> Case:
    def draw_patients(numbers: Callable[..., Floats]) -> Callable[..., Scored]:
        def patients(n: int, draw: np.random.Generator) -> Scored:
            if spec.rule.is_regression:
                label, outputs = numbers((n, 1), draw)[:, 0], numbers((n, 1), draw)
            else:
                label = draw.integers(0, spec.n_classes, size=n).astype(np.float64)
                outputs = numbers((n, spec.n_classes), draw)
            return Scored(outputs, label, np.zeros((n, 0)))

        return patients

    return Case(
        OneSum(TableRows(spec)),
        usual=draw_patients(lambda shape, draw: draw.uniform(0.3, 1.0, size=shape)),
        hostile=draw_patients(odd),
    )


def of_description(*, has_moments: bool) -> Case:
    stage = DescriptionStage(
        name="description",
        roles=("training",),
        patients="everybody",
        release_class="dp",
        noise_multipliers=(1.0,),
        has_second_moments=has_moments,
        target_low=0.35,
        target_high=1.0,
        minimum_cell=10,
    )
    spec = description_spec(practice_settings("linear"), stage)
    k = len(SCHEMA.fields)

    def usual(n: int, draw: np.random.Generator) -> DescribedPatients:
        fields = np.abs(draw.normal(size=(n, k))) % 2.0
        mask = draw.random((n, k)) < 0.9
        return DescribedPatients(fields, mask, draw.normal(0.75, 0.12, size=n), draw.random(n) < 0.3)

    def hostile(n: int, draw: np.random.Generator) -> DescribedPatients:
        fields = np.abs(odd((n, k), draw)) * draw.choice([1.0, 1.0, -1.0], size=(n, 1))
        is_category = np.array([field.kind == "category" for field in SCHEMA.fields])
        word = draw.integers(-1, 4, size=(n, k)).astype(np.float64)
        fields = np.where(is_category & (draw.random((n, 1)) < 0.7), np.maximum(word, 0.0) % 2, fields)
        mask = draw.random((n, k)) < draw.choice([0.5, 1.0], size=(n, 1))
        return DescribedPatients(fields, mask, odd((n, 2), draw)[:, 0], draw.random(n) < 0.5)

    return Case(OneSum(DescriptionRows(spec)), usual, hostile)


VARCLUS = {"kind": "varclus", "shares": [{"up_to_epsilon": 50, "share": 0.25}]}
LASSO = {"kind": "lasso", "shares": [{"up_to_epsilon": 50, "share": 0.25}]}
BMD_TABLE = spec_of_numbers()
CLASS_TABLE = spec_of_probabilities()

SUMS: dict[str, Case] = {
    **{kind: of_learner(kind) for kind in LEARNERS if kind != "second_moments"},
    "ridge": of_learner("second_moments", n_classes=0),
    "lasso": of_learner("second_moments", n_classes=0, read_as="lasso"),
    "discriminants": of_learner("second_moments", read_as="discriminants"),
    "components": of_learner("second_moments", read_as="components", n_components=4),
    "lda from sums by class": of_learner("lda", reading="class_sums"),
    "selection by varclus": of_learner("selection", by=VARCLUS, keep=8),
    "selection by lasso": of_learner("selection", by=LASSO, keep=8),
    "table of numbers": of_table(BMD_TABLE),
    "table of two classes": of_table(CLASS_TABLE),
    "table of graded numbers": of_table(spec_of_numbers(cuts=(0.6, 0.7))),
    "table of classes, each with a probability": of_table(
        spec_of_probabilities("normal", "wedge", "crush", bins=8, confusion=1.0, error=0.35)
    ),
    "table of ordered classes": of_table(
        spec_of_probabilities("mild", "middle", "severe", is_ordered=True, confusion=1.0, error=0.35)
    ),
    **{f"measure of {kind}": of_measure(kind) for kind in MEASURES if kind != "survival"},
    "measure of survival": of_measure("survival", "experiment=hip_fracture"),
    "measure of subgroups by age, of a probability": of_measure(
        "subgroups", "experiment=bmd_classes", field="age", edges=[60, 75], low=0.0, high=1.0
    ),
    "measure of subgroups by scanner": of_measure("subgroups_vendor"),
    "measure beside a rule, of a probability": of_measure(
        "comparison", "experiment=bmd_classes", bins=4, low=0.0, high=1.0
    ),
    "gradients of a linear head": of_gradient("linear"),
    "gradients of a hidden layer": of_gradient("concatenation", hidden=8),
    "gradients of cross-attention": of_gradient("cross_attention", width=8, layers=1, heads=2),
    "gradients of attention in one direction": of_gradient(
        "cross_attention", width=8, layers=1, heads=2, directions="image_reads", head_hidden=4
    ),
    "gradients of one score of classes": of_gradient("linear", is_odds=True),
    "description": of_description(has_moments=False),
    "description with second moments": of_description(has_moments=True),
}
