"""Settings: what a plan may say; every mistake is named, and what contradicts itself is refused."""

from __future__ import annotations

from typing import Any

import pytest
from practice_settings import changed, refused

from server.federation.compose import compose_settings
from shared.contract.settings import (
    PrivacySettings,
    Settings,
    StrategySettings,
    ValidationSettings,
    read_settings,
)
from shared.errors import SettingsError
from shared.learners.refused import REFUSED


@pytest.fixture(scope="module")
def shipped() -> Settings:
    return compose_settings()


def test_settings_are_the_same_after_a_way_through_json(shipped: Settings) -> None:
    assert read_settings(shipped.model_dump(mode="json")) == shipped


@pytest.mark.parametrize(
    ("groups", "fact"),
    [
        ({"privacy": {"delta": 0.01}}, "privacy.delta"),
        ({"privacy": {"delta": 0}}, "privacy.delta"),
        ({"privacy": {"epsilon": 0}}, "privacy.epsilon"),
        ({"privacy": {"epsilon": 51}}, "privacy.epsilon"),
        ({"privacy": {"epsilon": None}}, "patient_dp needs epsilon"),
        ({"privacy": {"clip_norm": 0}}, "privacy.clip_norm"),
        ({"privacy": {"sample_rate": 0}}, "privacy.sample_rate"),
        ({"privacy": {"sample_rate": 1.1}}, "privacy.sample_rate"),
        ({"privacy": {"mode": "off", "canaries": 1}}, "canaries 0 and sample_rate 1"),
        ({"privacy": {"mode": "off", "sample_rate": 0.5}}, "canaries 0 and sample_rate 1"),
        ({"federation": {"quorum": 0}}, "federation.quorum"),
        ({"federation": {"quorum": 1.01}}, "federation.quorum"),
        ({"strategy": {"proximal_mu": -1}}, "strategy.proximal_mu"),
        ({"strategy": {"trimmed_fraction": 0.5}}, "strategy.trimmed_fraction"),
        ({"validation": {"score_low": 1.0, "score_high": 1.0}}, "score_low must be below"),
        ({"validation": {"target_low": 2.0, "target_high": 1.0}}, "target_low must be below"),
        ({"validation": {"target_high": 1e10}}, "within 1e9"),
        (
            {"validation": {"release_class": "governed", "description_second_moments": True}},
            "description_second_moments must be false in a governed release",
        ),
        ({"validation": {"minimum_cell": 0}}, "validation.minimum_cell"),
        ({"validation": {"sensitivity_target": 1}}, "validation.sensitivity_target"),
        ({"task": {"target_sd": 0}}, "task.target_sd"),
        ({"task": {"endpoint_threshold": None}}, "task.endpoint_threshold"),
        ({"task": {"kind": "classification"}}, "task.positive_class: Field required"),
        ({"task": {"kind": "classification"}}, "task.endpoint_threshold: is not a setting"),
        ({"encoder": {"sha256": "xyz"}}, "encoder.sha256"),
        ({"encoder": {"name": "none"}}, "encoder none needs fusion clinical_only"),
        ({"encoder": {"name": "resnet34", "training": "full"}}, "must be of resnet_gn or tiny"),
        (
            {"encoder": {"name": "resnet_gn", "training": "lora"}},
            "must be of dinov2_b or dinov2_s or standin_vit or vit_s",
        ),
        ({"encoder": {"sha256": ""}}, "needs encoder.weights and encoder.sha256"),
        ({"cohort": {"views": []}}, "needs at least one view"),
        ({"engine": {"name": "cloud"}}, "engine.name"),
        ({"task": {"colour": 1}}, "task.colour: is not a setting"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(
    shipped: Settings, groups: dict[str, dict[str, Any]], fact: str
) -> None:
    assert fact in refused(changed(shipped, **groups))


def test_every_mistake_is_in_one_text_with_the_value_that_was_typed(shipped: Settings) -> None:
    text = refused(changed(shipped, privacy={"delta": 0.5, "clip_norm": -1}, federation={"quorum": 2}))
    assert text.startswith("3 settings are not valid:")
    assert "not 0.5" in text


@pytest.mark.parametrize("word", REFUSED)
@pytest.mark.parametrize("group", ["learner", "task", "privacy", "federation", "validation", ""])
def test_what_cannot_be_private_keeps_its_code_in_any_group(
    shipped: Settings, word: str, group: str
) -> None:
    content = changed(shipped, **{group: {word: True}}) if group else {**changed(shipped), word: True}
    with pytest.raises(SettingsError) as caught:
        read_settings(content)
    assert (caught.value.code, caught.value.hint) == (REFUSED[word].code, REFUSED[word].hint)


@pytest.mark.parametrize("word", REFUSED)
def test_what_cannot_be_private_keeps_its_code_as_a_learner(shipped: Settings, word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(changed(shipped, learner={"kind": word}))
    assert (caught.value.code, caught.value.hint) == (REFUSED[word].code, REFUSED[word].hint)


def test_words_of_several_refusals_are_told_together_each_with_its_advice(shipped: Settings) -> None:
    text = refused(changed(shipped, learner={"early_stopping": 1}, task={"smote": 1}))
    assert text.startswith("2 settings are not valid:")
    for word in ("early_stopping", "smote"):
        assert f"({REFUSED[word].code}); {REFUSED[word].hint}" in text


@pytest.mark.parametrize(
    ("tail", "rounds", "n"),
    [(0.5, 3, 2), (0.5, 4, 2), (0.0, 10, 1), (1.0, 10, 10), (0.1, 5, 1), (0.3, 10, 3), (0.34, 3, 2)],
)
def test_a_tail_is_rounded_up_to_whole_rounds_and_is_never_empty(
    tail: float, rounds: int, n: int
) -> None:
    assert StrategySettings(tail_average=tail).n_averaged(rounds) == n


def test_defaults_are_the_careful_ones() -> None:
    assert PrivacySettings(mode="off").sample_rate == 1.0
    assert StrategySettings().name == "fedavg"
    assert StrategySettings().proximal_mu == 0.0
    assert ValidationSettings().release_class == "dp"
    assert ValidationSettings().minimum_cell == 10
    assert ValidationSettings().description_epsilon is None
