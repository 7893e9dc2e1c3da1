"""What the task cannot have is refused before a plan is written: one by its code, several together."""

from __future__ import annotations

import pytest

from server.federation.compose import compose_settings
from server.federation.suitable import require_suitable
from shared.errors import SettingsError

PROBABILITIES = (
    "measure=subgroups",
    "measures.subgroups.measure.low=0",
    "measures.subgroups.measure.high=1",
)


def refusal(*overrides: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        require_suitable(compose_settings(overrides))
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["measure=[subgroups,errors]"],
        ["learner=second_moments"],
        ["experiment=bmd_classes"],
        ["experiment=bmd_classes", *PROBABILITIES],
    ],
)
def test_what_suits_the_task_passes(overrides: list[str]) -> None:
    require_suitable(compose_settings(overrides))


@pytest.mark.parametrize("learner", ["gradient", "forest", "proportional_odds"])
def test_bands_of_errors_are_of_a_number_and_not_of_classes(learner: str) -> None:
    error = refusal("experiment=bmd_classes", f"learner={learner}", "measure=errors")
    assert error.code == "settings.needs-a-number"
    assert "validation.blocks" in error.hint


@pytest.mark.parametrize("task", [[], ["experiment=bmd_classes"]])
def test_components_predict_nothing_that_could_be_validated(task: list[str]) -> None:
    error = refusal(*task, "learner=second_moments", "learner.read_as=components")
    assert error.code == "settings.predicts-nothing"


def test_a_learner_of_classes_is_refused_for_a_number() -> None:
    assert refusal("learner=forest").code == "settings.needs-classes"


def test_all_that_do_not_suit_are_named_together_each_with_what_to_do() -> None:
    error = refusal("experiment=bmd_classes", "learner=second_moments", "measure=errors")
    assert error.code == "settings.invalid"
    assert "2 settings do not suit the task" in error.fact
    assert "measure errors needs a predicted number" in error.fact
    assert "validation.blocks" in error.fact
    assert "read as ridge needs a target of a number, not classes" in error.fact


def test_cuts_outside_are_refused_by_the_full_names_of_their_settings() -> None:
    error = refusal("measure=[errors,subgroups_age]", "measures.subgroups_age.measure.low=0.7")
    assert error.code == "settings.cut-outside-scores"
    assert "the release's score must lie between measures.subgroups_age.measure.low 0.7" in error.fact
    assert "measures.subgroups_age.measure.high above it" in error.hint
    both = refusal(
        "measure=[subgroups,comparison]",
        "measures.subgroups.measure.high=0.55",
        "measures.comparison.measure.rule.low=3",
    )
    assert both.code == "settings.invalid"
    assert "measures.subgroups.measure.high 0.55" in both.fact
    assert "the cut 2 of OST must lie between measures.comparison.measure.rule.low 3" in both.fact
