"""A figure, or the reason why there is none."""

from __future__ import annotations

import pytest

from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, Estimate, within


@pytest.mark.parametrize(("value", "shown"), [(-0.2, 0.0), (0.0, 0.0), (0.4, 0.4), (1.3, 1.0)])
def test_a_figure_is_cut_to_the_range_it_can_have(value: float, shown: float) -> None:
    found = within(value, -0.5, 1.5, bounds=(0.0, 1.0))
    # the interval tells how far noise has carried it
    assert found == Estimate(status="measured", value=shown, low=-0.5, high=1.5)


def test_what_is_withheld_has_no_number() -> None:
    for estimate, status in ((SUPPRESSED, "suppressed"), (NOT_APPLICABLE, "not-applicable")):
        assert estimate.status == status
        assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
