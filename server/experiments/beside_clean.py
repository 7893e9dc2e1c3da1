"""What a leaking marker changes: figures of models of the same people, with it less without, paired.

Both populations draw the same people in the same order, so that each patient is read twice. Imports the
harness and outcomes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from server.experiments.harness import Kept, models_of, settings_of
from server.experiments.outcome import Outcome, Row, mean_over
from server.experiments.system import Setting, System
from server.simulation.comparison import Difference, Figure, measure_place
from server.simulation.looks import compare_looks
from shared.contract.decision import Decision, decision_of
from shared.errors import RunError
from shared.measures.scored import Scored

_LEAKS, _CLEAN = "leaks", "clean"


def with_clean(
    outcome: Outcome,
    system: System,
    clean: System,
    *,
    setting: Setting,
    seeds: Sequence[int],
    kept: Kept,
) -> Outcome:
    """An outcome with its figures less those of the same arms, trained alike, on the clean films.

    Args:
        outcome: of the system whose marker leaks.
        system: that system.
        clean: the same with other films of the same people; measured too.
        setting: how much was measured.
        seeds: of the populations.
        kept: what was measured.

    Raises:
        RunError: the people are not the same.
    """
    twins = {
        (model.seed, model.arm, model.training): model for model, *_ in models_of(clean, setting, seeds)
    }
    rules = {arm.name: decision_of(settings_of(system, arm, is_private=True)) for arm in system.arms}
    found: dict[tuple[str, str, str, str, str], list[Figure | Difference]] = defaultdict(list)
    for model, arm, training in models_of(system, setting, seeds):
        twin = twins.get((model.seed, model.arm, model.training))
        if twin is None:
            continue
        rule = rules[arm.name]
        leaks, without = kept.looked(model), kept.looked(twin)
        scored = kept.scored(model), kept.scored(twin)
        for place in training.places:
            differences = _differences(place, scored[0][place], scored[1][place], rule)
            if place in leaks and place in without:
                differences += compare_looks(leaks[place], without[place], rule, place=place, arm="")
            for each in differences:
                key = (arm.name, training.kind, training.name, place, each.figure)
                found[key].append(each)
    rows = tuple(
        Row(arm=arm, kind=kind, training=name, place=place, figure=figure, mean=mean_over(each))
        for (arm, kind, name, place, figure), each in found.items()
    )
    return outcome.model_copy(update={"against_clean": rows})


def _differences(place: str, leaks: Scored, clean: Scored, rule: Decision) -> list[Figure | Difference]:
    """Figures of what is read of films with the marker, less those without."""
    if not np.array_equal(leaks.label, clean.label):
        raise RunError(
            "other-people",
            f"{place}: films with and without the marker must be of the same people; labels differ",
            hint="delete both populations' cohorts in figures/work/experiments, and measure again",
        )
    both = {_LEAKS: leaks, _CLEAN: clean}
    return [*measure_place(place, both, rule, ours=_LEAKS)[1]]
