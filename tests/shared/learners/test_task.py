"""Which targets a learner of classes takes."""

from __future__ import annotations

import pytest
from practice_tables import table_task

from shared.errors import SettingsError
from shared.learners.task import require_classes


@pytest.mark.parametrize("n_classes", [0, 1])
def test_fewer_than_two_classes_are_refused(n_classes: int) -> None:
    with pytest.raises(SettingsError, match="learner forest") as error:
        require_classes(table_task(1, n_classes=n_classes), kind="forest")
    assert error.value.code == "settings.needs-classes"


def test_two_classes_are_enough() -> None:
    require_classes(table_task(1, n_classes=2), kind="forest")
