"""The control of a rehearsed attack: whether it sees anything where nothing is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from shared.audit.attack.membership import AttackRun
from shared.audit.attack.rehearsal import _judge_control


@pytest.mark.parametrize(
    ("shift", "verdict"), [(3.0, "pass"), (0.0, "not-run"), (0.25, "not-run"), (-3.0, "not-run")]
)
def test_an_attack_is_serious_only_where_its_interval_lies_above_a_guess(
    shift: float, verdict: str
) -> None:
    quantiles = np.linspace(-2.0, 2.0, 20)
    is_member = np.repeat([True, False], 20)
    scores = {
        "guess": np.concatenate([quantiles, quantiles]),
        "attack": np.concatenate([quantiles + shift, quantiles]),
    }
    found = _judge_control(AttackRun(scores=scores, is_member=is_member, n_references=16))
    assert found.verdict == verdict
    assert found.figures["auc_guess"] == 0.5
    assert (float(found.figures["auc_attack"]) > 0.5) == (shift > 0)
