"""Stages of a plan: what contradicts itself is refused, and a purpose is told from what a stage is."""

from __future__ import annotations

from typing import Any

import pytest
from practice_site import make_plan
from pydantic import TypeAdapter, ValidationError

from server.federation.compose import CONFIGS, compose_settings
from server.federation.plan import resolve_stages, shared_settings
from shared.contract.plan import Plan
from shared.contract.settings import PlanSettings
from shared.contract.stages import (
    DescriptionStage,
    GradientStage,
    LearnerStage,
    Stage,
    StrategySettings,
    TableStage,
    purpose_of,
)
from shared.errors import PlanError

STAGE: TypeAdapter[Stage] = TypeAdapter(Stage)
COMMON = {
    "name": "train",
    "roles": ["training"],
    "patients": "train",
    "release_class": "dp",
    "rounds": 3,
    "noise_multipliers": [2.0],
}
GRADIENT = COMMON | {
    "kind": "gradient",
    "fold": "site",
    "local_steps": 5,
    "learning_rate": 0.5,
    "clip_norm": 0.5,
    "sample_rate": 1.0,
    "update_norm_max": 10.0,
}
TABLE = COMMON | {
    "kind": "table",
    "name": "internal",
    "patients": "internal",
    "rounds": 1,
    "ranking": "graded",
    "blocks": {"ranking": 1.0},
    "bins": 10,
    "score_low": 0.0,
    "score_high": 1.0,
    "target_low": 0.0,
    "target_high": 1.0,
    "error_high": 1.0,
    "minimum_cell": 10,
    "sensitivity_target": 0.85,
    "minimum_patients": 1,
}
DESCRIPTION = COMMON | {
    "kind": "description",
    "name": "description",
    "patients": "everybody",
    "rounds": 1,
    "has_second_moments": False,
    "target_low": 0.0,
    "target_high": 1.0,
    "minimum_cell": 10,
}


def read(content: dict[str, Any], **changes: Any) -> Stage:
    return STAGE.validate_python(content | changes)


def test_a_stage_is_told_by_its_kind_and_survives_json() -> None:
    for content, kind in (
        (GRADIENT, GradientStage), (TABLE, TableStage), (DESCRIPTION, DescriptionStage),
    ):  # fmt: skip
        stage = read(content)
        assert type(stage) is kind
        assert STAGE.validate_json(stage.model_dump_json()) == stage
    with pytest.raises(ValidationError, match="kind"):
        read(TABLE, kind="everything")


@pytest.mark.parametrize(
    ("content", "changes", "fact"),
    [
        # noise fits the class, and there is enough of it said
        (GRADIENT, {"noise_multipliers": [0.0]}, "above 0 in a dp stage"),
        (TABLE, {"noise_multipliers": [0.0]}, "above 0 in a dp stage"),
        (TABLE, {"release_class": "governed"}, "and 0 in any other"),
        (GRADIENT, {"release_class": "off"}, "and 0 in any other"),
        (TABLE, {"noise_multipliers": []}, "noise_multipliers"),
        (TABLE, {"rounds": 3, "noise_multipliers": [1.0, 2.0]}, "one for every round"),
        (TABLE, {"rounds": 3, "noise_multipliers": [1.0, 2.0, 0.0]}, "above 0 in a dp stage"),
        (TABLE, {"noise_multipliers": [-1.0]}, "noise_multipliers"),
        (TABLE, {"noise_multipliers": [float("nan")]}, "noise_multipliers"),
        (GRADIENT, {"noise_multipliers": [2.0, 9.0, 9.0]}, "the same in every round"),
        # what a gradient stage may be
        (GRADIENT, {"fold": "coordinator"}, "fold coordinator must have local_steps 1"),
        (
            GRADIENT,
            {"fold": "coordinator", "local_steps": 1, "strategy": {"name": "fedadam"}},
            "and strategy fedavg or a robust one",
        ),
        (GRADIENT, {"release_class": "governed", "noise_multipliers": [0.0]}, "must be dp or off"),
        (
            GRADIENT,
            {"release_class": "off", "noise_multipliers": [0.0], "canaries": 1},
            "must have canaries 0",
        ),
        (
            GRADIENT,
            {"release_class": "off", "noise_multipliers": [0.0], "sample_rate": 0.5},
            "and sample_rate 1",
        ),
        (GRADIENT, {"fold": "nowhere"}, "fold"),
        # who may be trained on, and what may be measured without noise
        (GRADIENT, {"patients": "everybody"}, "their train patients only"),
        (GRADIENT, {"patients": "internal"}, "their train patients only"),
        (GRADIENT, {"roles": ["training", "external"]}, "their train patients only"),
        (TABLE, {"release_class": "off", "noise_multipliers": [0.0]}, "dp or governed, not off"),
        (DESCRIPTION, {"release_class": "off", "noise_multipliers": [0.0]}, "dp or governed, not off"),
        (GRADIENT, {"local_tail": 1.1}, "local_tail"),
        (GRADIENT, {"update_norm_max": None}, "update_norm_max"),
        # what a table or a description may be
        (TABLE, {"score_low": 1.0}, "score_low must be below score_high"),
        (TABLE, {"target_high": -1.0}, "target_low must be below target_high"),
        (TABLE, {"target_high": 1e10}, "both within 1e9"),
        (TABLE, {"score_low": float("nan")}, "score_low"),
        (DESCRIPTION, {"target_high": 0.0}, "target_low must be below target_high"),
        (
            DESCRIPTION,
            {"release_class": "governed", "noise_multipliers": [0.0], "has_second_moments": True},
            "has_second_moments must be false in a governed description",
        ),
        # what any stage may be
        (TABLE, {"rounds": 0}, "rounds"),
        (TABLE, {"rounds": None}, "rounds"),
        (TABLE, {"name": "../train"}, "name"),
        (TABLE, {"roles": []}, "roles"),
        (TABLE, {"roles": ["everybody"]}, "roles"),
        (TABLE, {"patients": "tomorrow's"}, "patients"),
        (TABLE, {"clip_norm": 1.0}, "clip_norm"),
    ],
)
def test_a_stage_that_contradicts_itself_is_refused(
    content: dict[str, Any], changes: dict[str, Any], fact: str
) -> None:
    with pytest.raises(ValidationError, match=fact):
        read(content, **changes)


def test_a_round_has_its_own_noise_or_that_of_all() -> None:
    assert [read(TABLE, rounds=3).noise_of(number) for number in (1, 2, 3)] == [2.0] * 3
    each = read(TABLE, rounds=3, noise_multipliers=[1.0, 2.0, 4.0])
    assert [each.noise_of(number) for number in (1, 2, 3)] == [1.0, 2.0, 4.0]


def test_a_gradient_stage_counts_its_sums_and_names_their_noise() -> None:
    stage = read(GRADIENT)
    assert isinstance(stage, GradientStage)
    assert (stage.total_steps, stage.noise_multiplier, stage.is_private) == (15, 2.0, True)
    off = read(GRADIENT, release_class="off", noise_multipliers=[0.0])
    assert isinstance(off, GradientStage)
    assert (off.noise_multiplier, off.is_private) == (0.0, False)
    single = read(GRADIENT, fold="coordinator", local_steps=1)
    assert isinstance(single, GradientStage)
    assert single.total_steps == 3


@pytest.mark.parametrize("patients", ["train", "internal", "accrued"])
def test_a_description_asks_everybody_since_that_is_what_its_price_is_stated_for(patients: str) -> None:
    with pytest.raises(ValidationError, match="must be everybody"):
        read(DESCRIPTION, patients=patients)


@pytest.mark.parametrize(
    ("content", "changes", "purpose"),
    [
        (GRADIENT, {}, "train"),
        (GRADIENT, {"name": "internal"}, "train"),
        (GRADIENT, {"name": "external"}, "train"),
        (TABLE, {}, "evaluate.internal"),
        (TABLE, {"name": "train"}, "evaluate.internal"),
        (TABLE, {"name": "internal", "patients": "accrued"}, "evaluate.prospective"),
        (TABLE, {"patients": "everybody", "roles": ["external"]}, "evaluate.external"),
        (DESCRIPTION, {"name": "train"}, "evaluate.description"),
    ],
)
def test_a_purpose_comes_from_what_a_stage_is_and_never_from_its_name(
    content: dict[str, Any], changes: dict[str, Any], purpose: str
) -> None:
    assert purpose_of(read(content, **changes)) == purpose


@pytest.mark.parametrize(
    "changes",
    [
        {"patients": "train"},
        {"patients": "everybody"},
        {"patients": "everybody", "roles": ["training", "external"]},
    ],
)
def test_a_table_of_patients_who_trained_has_no_purpose(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError) as caught:
        purpose_of(read(TABLE, **changes))
    assert caught.value.code == "plan.measures-its-training"


def test_stages_of_a_plan_differ_in_name(tmp_path: Any) -> None:
    content = make_plan(tmp_path).model_dump(mode="json")
    twice = content["stages"][1] | {"name": content["stages"][0]["name"]}
    with pytest.raises(ValidationError, match="differ in name"):
        Plan.model_validate(content | {"stages": [content["stages"][0], twice]})
    with pytest.raises(ValidationError, match="stages"):
        Plan.model_validate(content | {"stages": []})


EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))


def open_values(value: object, path: str = "") -> list[str]:
    """Where in a dump a null stands."""
    if value is None:
        return [path]
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    return [found for name, item in items for found in open_values(item, f"{path}.{name}")]


@pytest.mark.parametrize("experiment", ["", *EXPERIMENTS])
def test_no_value_of_a_plan_is_left_open_by_any_shipped_experiment(experiment: str) -> None:
    chosen = [f"experiment={experiment}"] if experiment else []
    if experiment in ("dinov2_s_lora", "xattn_bmd_resnet34"):  # whose weights are not shipped
        chosen += ["encoder.weights=packed.safetensors", f"encoder.sha256={'0' * 64}"]
    asked = compose_settings([*chosen, "validation.description_epsilon=1"])
    settings = shared_settings(asked)
    stages = resolve_stages(asked, n_parameters=100, declared={"training": (100,)})
    assert isinstance(settings, PlanSettings)
    # films in a tree of folders have no dates
    undated = [".cohort.date_column"] if settings.cohort.films == "png_tree" else []
    assert open_values(settings.model_dump()) == undated
    assert [open_values(stage.model_dump()) for stage in stages] == [[] for _ in stages]
    assert len({stage.name for stage in stages}) == len(stages)
    trains = [stage for stage in stages if isinstance(stage, GradientStage | LearnerStage)]
    assert [purpose_of(stage) for stage in trains] == ["train"]


def test_an_open_value_would_be_found() -> None:
    assert open_values({"a": [1, {"b": None}], "c": None}) == [".a.1.b", ".c"]


@pytest.mark.parametrize(
    ("rule", "fraction", "withstood"),
    [
        # of 2, 3, 5, 7 sites: the medians (s − 1)/2, the trimmed mean its fraction, a mean nobody
        ("median", 0.2, [0, 1, 2, 3]),
        ("geometric_median", 0.2, [0, 1, 2, 3]),
        ("trimmed_mean", 0.2, [0, 0, 1, 1]),
        ("trimmed_mean", 0.34, [0, 1, 1, 2]),
        ("fedavg", 0.2, [0, 0, 0, 0]),
    ],
)
def test_a_rule_withstands_so_many_bad_sites(rule: str, fraction: float, withstood: list[int]) -> None:
    strategy = StrategySettings(name=rule, trimmed_fraction=fraction)
    found = [strategy.n_withstood(n_sites) for n_sites in (2, 3, 5, 7)]
    assert found == withstood
    assert all(2 * f + 1 <= n for f, n in zip(found, (2, 3, 5, 7), strict=True))
    assert strategy.is_robust == (rule != "fedavg")
