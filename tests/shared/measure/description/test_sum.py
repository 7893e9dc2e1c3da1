"""The description as a sum gives the cells that it always had."""

from __future__ import annotations

import numpy as np
from practice_sums import SUMS

from shared.measure.description.rows import contributions, sensitivity
from shared.measure.description.sum import DescriptionRows
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum


def test_without_noise_the_state_is_the_sum_of_all_sites_contributions() -> None:
    case = SUMS["description with second moments"]
    asked = case.asked
    assert isinstance(asked, OneSum)
    assert isinstance(asked.asked, DescriptionRows)
    spec = asked.asked.spec
    patients = case.usual(80, np.random.default_rng(0))
    rows = contributions(
        spec,
        fields=patients.fields,
        field_mask=patients.field_mask,
        target=patients.target,
        is_positive=patients.is_positive,
    )
    sites = [patients.select(range(0, 30)), patients.select(range(30, 80))]
    state = federate(asked, sites, n_declared=80)
    assert np.allclose(state.vector, rows.sum(axis=0), atol=1e-8)
    assert asked.bound(state) == sensitivity(spec)
    assert asked.length(state) == spec.n_cells == rows.shape[1]
    assert state.sums_done == 1
    assert asked.shares() == (1.0,)
    assert asked.start().sums_done == 0
    assert asked.start().vector.size == 0
