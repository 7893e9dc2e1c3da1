"""What may follow a choice: every learner of classes, by its own settings."""

from __future__ import annotations

from typing import get_args

import pytest
from practice_tables import table_task

from server.federation.compose import compose_settings
from shared.learners.following import Following, build_following
from shared.learners.selection import SelectionSettings
from shared.learners.table import LEARNERS

KINDS = sorted(
    str(get_args(settings.model_fields["kind"].annotation)[0])
    for settings in get_args(get_args(Following)[0])
)


def test_every_learner_may_follow_but_those_of_numbers_of_times_and_of_choices() -> None:
    assert set(LEARNERS) - set(KINDS) == {"second_moments", "proportional_hazards", "selection"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_names_another_learner_behind_the_choice(kind: str) -> None:
    settings = compose_settings(["experiment=dlr_ovf", f"learner@learner.then={kind}"]).learner
    assert isinstance(settings, SelectionSettings)
    assert settings.then.kind == kind
    learner = build_following(settings.then, table_task(settings.keep, n_classes=3, epsilon=3.0))
    assert learner.shares()
