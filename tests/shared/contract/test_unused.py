"""What a learner of tables does not use is refused where somebody has set it, and only there."""

from __future__ import annotations

import pytest

from server.federation.compose import compose_settings
from shared.contract.settings import read_settings
from shared.errors import SettingsError

# A value that somebody sets, of every setting that only gradients use.
SET = {
    "federation.rounds": "7",
    "federation.local_steps": "2",
    "federation.learning_rate": "0.5",
    "federation.fold": "site",
    "federation.local_tail": "0.5",
    "privacy.noise_multiplier": "50",
    "privacy.update_norm_max": "9",
    "privacy.clip_norm": "1",
    "privacy.sample_rate": "0.1",
    "privacy.canaries": "100",
    "strategy.name": "median",
    "strategy.server_learning_rate": "0.5",
    "strategy.proximal_mu": "0.1",
    "strategy.adam_beta1": "0.5",
    "strategy.adam_beta2": "0.5",
    "strategy.adam_tau": "0.1",
    "strategy.trimmed_fraction": "0.1",
    "strategy.tail_average": "1",
    "task.smooth_l1_beta": "0.1",
    "task.loss_threshold": "0.7",
    "task.loss_emphasis": "0",
    "task.loss_scale": "0.1",
    "fusion.width": "32",
    "fusion.layers": "1",
    "fusion.heads": "2",
    "fusion.directions": "image_reads",
    "fusion.head_hidden": "8",
}


def refusal(*overrides: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        compose_settings(overrides)
    return caught.value


@pytest.mark.parametrize("place", SET)
def test_a_value_that_only_gradients_use_is_refused_by_its_name(place: str) -> None:
    asked = f"{place}={SET[place]}"
    error = refusal("learner=second_moments", asked)
    assert error.code == "settings.not-used-by-learner"
    assert len(error.fact.splitlines()) == 2
    assert f"  {place}: must be " in error.fact
    assert compose_settings([asked]).learner.kind == "gradient"


def test_all_that_is_set_and_not_used_is_told_together() -> None:
    asked = [
        "privacy.canaries=100",
        "federation.rounds=7",
        "strategy=median",
        "privacy.sample_rate=0.1",
    ]
    error = refusal("experiment=bmd_classes", "learner=forest", *asked, "privacy.noise_multiplier=50")
    assert error.code == "settings.not-used-by-learner"
    assert error.fact.startswith("5 settings are set and not used:")
    assert "privacy.noise_multiplier: must be null with learner forest, not 50" in error.fact
    assert "strategy.name: must be fedavg with learner forest, not 'median'" in error.fact
    assert "learner=gradient" in error.hint


def test_other_mistakes_are_told_with_them() -> None:
    error = refusal("learner=second_moments", "federation.rounds=7", "seed=-1", "fusion=attention")
    assert error.code == "settings.invalid"
    for place in ("federation.rounds", "seed", "fusion"):
        assert f"  {place}: " in error.fact
    assert "3 settings are not valid" in error.fact


def test_a_value_as_shipped_was_set_by_nobody() -> None:
    given = [
        "federation.rounds=null",
        "privacy.clip_norm=0.5",
        "strategy=fedavg",
        "task.loss_emphasis=1.0",
    ]
    settings = compose_settings(["learner=second_moments", *given])
    assert settings.learner.kind == "second_moments"
    assert read_settings(settings.model_dump(mode="json")) == settings


def test_a_schedule_of_the_fusion_is_not_a_learners() -> None:
    rows = "[{from_signal: null, learning_rate: 1, rounds: 1, local_steps: 1}]"
    assert (
        "  fusion.schedules: must be as in its file"
        in refusal("learner=second_moments", f"fusion.schedules.standard={rows}").fact
    )
    assert (
        "  schedule: must be standard with learner second_moments, not 'one_message'"
        in refusal("learner=second_moments", "schedule=one_message").fact
    )


@pytest.mark.parametrize("fusion", ["image_only", "concatenation"])
def test_a_fusion_that_reads_other_columns_than_a_learner_is_refused(fusion: str) -> None:
    error = refusal("learner=second_moments", f"fusion={fusion}")
    assert "  fusion.name: must be linear or clinical_only with learner second_moments" in error.fact


@pytest.mark.parametrize("privacy", ["patient_dp", "off"])
@pytest.mark.parametrize("fusion", ["cross_attention", "linear", "clinical_only"])
def test_every_shipped_choice_that_a_learner_can_have_passes(privacy: str, fusion: str) -> None:
    asked = ["learner=second_moments", f"privacy={privacy}", f"fusion={fusion}"]
    assert compose_settings(asked).learner.kind == "second_moments"
