"""What a robust rule kept of each hospital: who was left out though nothing of it was refused.

Read from the journal of a training, so that it can be told while the run goes on, and by anybody who
holds the run's folder. Imports the run's folder and the rules.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from server.run.folder import RunStore
from shared.contract.stages import GradientStage
from shared.train.robust import kept_shares, per_declared

# Of an equal share: whoever keeps less was mostly left out. Half, in words of every day.
MOSTLY = 0.5


def kept_by_rule(store: RunStore) -> dict[str, float]:
    """What was kept of each site, over an equal share of those present; empty under any other rule.

    1 is an equal share. Mean over the committed rounds in which a site took part.
    """
    stage = store.plan.trained
    if not isinstance(stage, GradientStage) or not stage.strategy.is_robust:
        return {}
    journal, kept = store.training.journal(0), defaultdict[str, list[float]](list)
    for number in range(1, store.training.last_committed().round + 1):
        accepted = journal.read(number).accepted
        changes = per_declared(
            [entry.reply.total for entry in accepted.values()],
            [store.plan.entry(site).declared_patients for site in accepted],
            fold=stage.fold,
        )
        shares = kept_shares(changes, stage.strategy)
        for site, share in zip(accepted, shares, strict=True):
            kept[site].append(share * len(shares))
    return {site: fmean(values) for site, values in kept.items()}


def write_kept(kept: float | None) -> str:
    """A kept share in words: of an equal one, and whether the rule mostly left the site out."""
    if kept is None:
        return "–"
    return f"{kept:.2f}, mostly left out" if kept < MOSTLY else f"{kept:.2f}"
