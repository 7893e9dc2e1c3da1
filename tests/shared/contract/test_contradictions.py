"""What settings say of one thing in two places: each disagreement is one line that names both."""

from __future__ import annotations

from typing import Any

import pytest

from server.federation.compose import compose_settings
from shared.contract.settings import PlanSettings, Settings, read_settings
from shared.errors import SettingsError

BMD, CLASSES = (), ("experiment=bmd_classes",)


@pytest.fixture(scope="module", params=[BMD, CLASSES])
def shipped(request: pytest.FixtureRequest) -> Settings:
    return compose_settings(request.param)


def test_what_is_shipped_contradicts_nothing(shipped: Settings) -> None:
    assert read_settings(shipped.model_dump()) == shipped


@pytest.mark.parametrize(
    ("base", "changes", "line"),
    [
        (BMD, {"task": {"target_unit": ""}}, "task.target_unit must be cohort.label.unit 'g/cm2'"),
        (BMD, {"task": {"target_mean": 1.7}}, "task.target_mean 1.7 must lie between cohort.label.low"),
        (BMD, {"task": {"loss_threshold": 2}}, "task.loss_threshold 2 must lie between"),
        (
            BMD,
            {"cohort": {"label": {"low": 0.6, "reference_mean": 0.8}}},
            "task.endpoint_threshold 0.558 must lie between cohort.label.low 0.6",
        ),
        (
            BMD,
            {"cohort": {"label": {"high": 0.7, "reference_mean": 0.6}}},
            "task.grades.osteopenia.threshold 0.738 must lie between",
        ),
        (
            BMD,
            {"validation": {"score_low": 0.6}},
            "task.operating_point 0.6 must lie between validation.score_low 0.6",
        ),
        (
            BMD,
            {"validation": {"score_high": 0.7}},
            "task.grades.osteopenia.operating_point 0.7 must lie between",
        ),
        (
            BMD,
            {"validation": {"target_low": 2, "target_high": 3}},
            "validation.target_low 2 to target_high 3 must overlap with what the label may be",
        ),
        (
            CLASSES,
            {"task": {"positive_class": "ill"}},
            "task.positive_class must be one of ['normal', 'osteopenia', 'osteoporosis'], not ill; for "
            "the last: task=classification task.endpoint='osteoporosis' "
            "task.positive_class='osteoporosis'",
        ),
        (CLASSES, {"validation": {"score_low": 0.1}}, "of classes must be 0 and 1, not 0.1 and 1"),
    ],
)
def test_each_disagreement_names_both_places(
    base: tuple[str, ...], changes: dict[str, Any], line: str
) -> None:
    content = merged(compose_settings(base).model_dump(), changes)
    with pytest.raises(SettingsError, match="not valid") as caught:
        read_settings(content)
    assert line in caught.value.fact


def test_an_experiment_of_other_classes_is_composed_with_the_words_that_the_refusal_gives() -> None:
    with pytest.raises(SettingsError) as caught:
        compose_settings(["experiment=cssc", "cohort=mura_wrist"])
    words = caught.value.fact.split("for the last: ")[1].splitlines()[0].split()
    settings = compose_settings(["experiment=cssc", "cohort=mura_wrist", *words])
    assert (settings.task.kind, settings.task.endpoint) == ("classification", "abnormal")


def test_a_loss_without_emphasis_has_no_threshold() -> None:
    content = compose_settings().model_dump()
    read_settings(merged(content, {"task": {"loss_threshold": 9, "loss_emphasis": 0}}))


def test_a_plans_settings_are_compared_as_the_coordinators_were(shipped: Settings) -> None:
    shared = set(PlanSettings.model_fields) & set(Settings.model_fields)
    values = {name: getattr(shipped, name).model_dump() for name in ("task", "cohort", "engine")}
    values |= {name: getattr(shipped, name) for name in shared - set(values)}
    patience = {name: getattr(shipped.federation, name) for name in ("quorum", "poll_s")}
    patience |= {"round_deadline_s": 1.0, "liveness_s": 1.0}
    values |= {"caps": shipped.caps, "patience": patience, "delta": 1e-5}
    PlanSettings.model_validate(values)
    wrong = {"target_mean": 9} if shipped.task.kind == "regression" else {"positive_class": "ill"}
    with pytest.raises(ValueError, match="must"):
        PlanSettings.model_validate(merged(values, {"task": wrong}))


def merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with some values changed, however deep."""
    return content | {
        name: merged(content[name], value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
