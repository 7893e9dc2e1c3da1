"""What a table's plan is made from: whom a stage finds, and bins for several tables of one shape."""

from __future__ import annotations

import pytest

from shared.contract.stages import BlockWeights
from shared.exam.schema import SplitRule
from shared.measure.table.bins import EXACT_BINS, bins_for
from shared.measure.table.planned import bins_of, patients_asked

ALONE = BlockWeights(ranking=1.0)


def test_a_stage_finds_its_share_of_a_cohort_or_as_many_as_it_waits_for() -> None:
    split = SplitRule(train=0.7, tune=0.1, internal=0.2)
    found = [
        patients_asked(split, group, declared=200, minimum_patients=30)
        for group in ("train", "internal", "everybody", "accrued")
    ]
    assert found == pytest.approx([140.0, 40.0, 200.0, 30.0])


def test_bins_suit_the_noise_and_the_patients_of_all_tables_together() -> None:
    expected = bins_for(noise_multiplier=2.0 * 3**0.5, sensitivity=1.0, weight=1.0, n_patients=900)
    found = bins_of([200.0, 300.0, 400.0], 2.0, ALONE, "graded", n_classes=2)
    assert found == expected < EXACT_BINS
    assert bins_of([200.0], 0.0, ALONE, "graded", n_classes=2) == EXACT_BINS
    # each class's probability in a row of its own: 1/√c of the weight, so fewer bins at the most
    assert bins_of([900.0], 2.0, ALONE, "each", n_classes=9) <= bins_of(
        [900.0], 2.0, ALONE, "graded", n_classes=9
    )
