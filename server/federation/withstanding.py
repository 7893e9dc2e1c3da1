"""Whether a robust rule withstands anybody among the sites that a round may be left with.

Asked before a plan is written. Imports settings.
"""

from __future__ import annotations

import math

from shared.contract.settings import Settings
from shared.errors import SettingsError


def require_withstanding(settings: Settings, *, n_sites: int) -> None:
    """Refuse a robust rule where a round at its quorum has too few sites for it.

    Args:
        settings: validated settings.
        n_sites: that train.

    Raises:
        SettingsError: the rule withstands no bad site at the quorum.
    """
    strategy, quorum = settings.strategy, settings.federation.quorum
    least = math.ceil(quorum * n_sites)
    if not strategy.is_robust or strategy.n_withstood(least):
        return
    enough = [n for n in range(least + 1, n_sites + 1) if strategy.n_withstood(n)]
    advice = "take strategy=fedavg, or a median" if strategy.name == "trimmed_mean" else ""
    if enough:
        share = math.ceil(100 * enough[0] / n_sites) / 100
        advice = f"set federation.quorum to {share:g} or more"
    raise SettingsError(
        "withstands-nobody",
        f"strategy {strategy.name} must have sites enough to withstand a bad one (2f + 1 for f), and "
        f"a round of {n_sites} training sites may be left with {least} (federation.quorum {quorum:g})",
        hint=advice or "enrol three training sites or more, or take strategy=fedavg",
    )
