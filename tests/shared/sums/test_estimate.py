"""A figure, or the reason why there is none."""

from __future__ import annotations

import pytest

from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, Estimate, promise_of, within


@pytest.mark.parametrize(("value", "shown"), [(-0.2, 0.0), (0.0, 0.0), (0.4, 0.4), (1.3, 1.0)])
def test_a_figure_is_cut_to_the_range_it_can_have(value: float, shown: float) -> None:
    found = within(value, -0.5, 1.5, bounds=(0.0, 1.0))
    # the interval tells how far noise has carried it
    assert found == Estimate(status="measured", value=shown, low=-0.5, high=1.5)


def test_what_is_withheld_has_no_number() -> None:
    for estimate, status in ((SUPPRESSED, "suppressed"), (NOT_APPLICABLE, "not-applicable")):
        assert estimate.status == status
        assert (estimate.value, estimate.low, estimate.high) == (None, None, None)


@pytest.mark.parametrize(
    ("low", "value", "high", "promise"),
    [
        (0.91, 0.95, 0.99, "kept"),
        (0.90, 0.95, 0.99, "kept"),
        (0.89, 0.95, 0.99, "undecided"),
        (0.80, 0.85, 0.90, "undecided"),
        (0.80, 0.85, 0.89, "broken"),
    ],
)
def test_a_promise_is_kept_or_broken_by_the_whole_interval(
    low: float, value: float, high: float, promise: str
) -> None:
    assert promise_of(Estimate(status="measured", value=value, low=low, high=high), 0.9) == promise


def test_what_nobody_promised_or_nobody_can_see_is_not_judged() -> None:
    assert (
        promise_of(Estimate(status="measured", value=0.5, low=0.4, high=0.6), 0.0) == "not-applicable"
    )
    assert promise_of(SUPPRESSED, 0.9) == "not-applicable"
