"""Which targets a learner of classes takes."""

from __future__ import annotations

import pytest
from practice_tables import table_task

from shared.errors import SettingsError
from shared.learners.task import require_classes, require_order


@pytest.mark.parametrize("n_classes", [0, 1])
def test_fewer_than_two_classes_are_refused(n_classes: int) -> None:
    with pytest.raises(SettingsError, match="learner forest") as error:
        require_classes(table_task(1, n_classes=n_classes), kind="forest")
    assert error.value.code == "settings.needs-classes"
    assert "experiment=bmd_classes" in error.value.hint


def test_two_classes_are_enough() -> None:
    require_classes(table_task(1, n_classes=2), kind="forest")


def test_three_classes_need_an_order_and_two_have_one() -> None:
    require_order(table_task(1, n_classes=3, is_ordered=True), kind="proportional_odds")
    require_order(table_task(1, n_classes=2, is_ordered=False), kind="proportional_odds")
    with pytest.raises(SettingsError, match="not 3 without one") as error:
        require_order(table_task(1, n_classes=3, is_ordered=False), kind="proportional_odds")
    assert error.value.code == "settings.needs-ordered-classes"


def test_a_number_has_no_ordered_classes() -> None:
    with pytest.raises(SettingsError) as error:
        require_order(table_task(1), kind="proportional_odds")
    assert error.value.code == "settings.needs-classes"
