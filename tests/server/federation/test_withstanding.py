"""A robust rule that would withstand nobody is refused, and the hint names what would do."""

from __future__ import annotations

import re

import pytest

from server.federation.compose import compose_settings
from server.federation.withstanding import require_withstanding
from shared.errors import SettingsError


@pytest.mark.parametrize(
    ("rule", "quorum", "n_sites"),
    [
        ("median", 0.5, 5),
        ("median", 1.0, 3),
        ("geometric_median", 0.7, 4),
        ("trimmed_mean", 1.0, 5),
        ("fedavg", 0.5, 1),
        ("fedadam", 0.5, 2),
    ],
)
def test_a_rule_with_sites_enough_at_the_quorum_passes(rule: str, quorum: float, n_sites: int) -> None:
    settings = compose_settings([f"strategy={rule}", f"federation.quorum={quorum}"])
    require_withstanding(settings, n_sites=n_sites)


@pytest.mark.parametrize(
    ("rule", "quorum", "n_sites", "hint"),
    [
        ("median", 1.0, 2, "enrol three training sites or more"),
        ("geometric_median", 0.5, 3, "federation.quorum to 1 or more"),
        ("median", 0.4, 5, "federation.quorum to 0.6 or more"),
        ("trimmed_mean", 0.5, 5, "federation.quorum to 1 or more"),
        ("trimmed_mean", 1.0, 4, "take strategy=fedavg, or a median"),
    ],
)
def test_a_rule_that_a_round_may_leave_with_too_few_is_refused(
    rule: str, quorum: float, n_sites: int, hint: str
) -> None:
    settings = compose_settings([f"strategy={rule}", f"federation.quorum={quorum}"])
    with pytest.raises(SettingsError) as caught:
        require_withstanding(settings, n_sites=n_sites)
    assert caught.value.code == "settings.withstands-nobody"
    assert hint in caught.value.hint
    if share := re.search(r"quorum to ([0-9.]+)", caught.value.hint):
        repaired = [f"strategy={rule}", f"federation.quorum={share[1]}"]
        require_withstanding(compose_settings(repaired), n_sites=n_sites)
