"""A published simple rule beside the arms of a simulation: public constants, and no training.

The rule of the settings' own comparison, else the shipped one (OST) where a BMD is predicted and the
cohort has its fields in its units. It ranks patients and predicts no number, so of it there is an AUC
alone. Imports the rule and the comparison.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from server.federation.compose import compose_settings
from server.simulation.comparison import (
    Difference,
    Figure,
    PublishedRule,
    figure_names,
    rank_paired,
)
from shared.contract.decision import Decision, decision_of
from shared.contract.settings import Settings
from shared.errors import ProtocolError
from shared.measures.comparison import ComparisonSettings
from shared.measures.scored import MeasureTask, Scored
from shared.measures.simple_rule import SimpleRule, SimpleRuleSettings

# In what units the shipped rule reads its fields.
_UNITS = {"age": "years", "weight": "kg"}


def rule_beside(settings: Settings) -> SimpleRuleSettings | None:
    """The published rule that goes with these settings, or None."""
    cohort = settings.cohort
    own = [each.rule for each in _comparisons(settings)]
    if own:
        return own[0]
    units = {field.name: field.unit for field in cohort.fields if field.kind == "number"}
    has_fields = all(units.get(name) == unit for name, unit in _UNITS.items())
    return _shipped() if cohort.label.kind == "bmd" and has_fields else None


def build_rule(asked: SimpleRuleSettings, settings: Settings) -> SimpleRule:
    """The rule over the cohort's fields.

    Raises:
        SettingsError: a term of what is no number field.
    """
    return SimpleRule.build(asked, MeasureTask(decision_of(settings), settings.cohort.fields))


def facts_of(asked: SimpleRuleSettings, patients: dict[str, int]) -> PublishedRule:
    """What a page says of the rule; ``patients``: how many it can read, by place."""
    parts = [(term.times, f"·{term.field}") for term in asked.terms]
    parts += [(asked.intercept, "")] if asked.intercept else []
    terms = [f"{'−' if times < 0 else '+'} {abs(times):g}{of}" for times, of in parts]
    formula = " ".join(terms).removeprefix("+ ")
    return PublishedRule(name=asked.name, formula=formula, patients=patients)


def measure_rule(
    place: str, ours: Scored, rule: SimpleRule, decision: Decision
) -> tuple[list[Figure], list[Difference], int]:
    """The rule's AUC, the federated arm's less it, and of how many patients.

    A difference is of the patients whom both can read: who lacks a field of the rule is in neither.

    Args:
        place: where the patients are from.
        ours: what the federated arm says of them.
        rule: what it is compared with.
        decision: who has the endpoint.
    """
    values = rule.values(ours)
    known = np.flatnonzero(np.isfinite(values) & (decision.class_of(ours.label) >= 0))
    figures = [Figure(place=place, arm=rule.name, figure=name) for name in figure_names(decision)]
    differences = [
        Difference(place=place, against=rule.name, figure=name) for name in figure_names(decision)
    ]
    at = figure_names(decision).index("AUC")
    sign = -1.0 if decision.is_low_positive else 1.0
    scores = np.stack(
        [
            sign * decision.score(ours.outputs)[known],
            (-1.0 if rule.bins.is_low_suspicious else 1.0) * values[known],
        ]
    )
    try:
        aucs, spans, paired = rank_paired(scores, decision.is_positive(ours.label)[known])
    except ProtocolError:  # fewer than two of a class
        return figures, differences, len(known)
    (low, high), (low_less, high_less, p) = spans[1], paired(0, 1)
    figures[at] = figures[at].model_copy(update={"value": aucs[1], "low": low, "high": high})
    differences[at] = differences[at].model_copy(
        update={"value": aucs[0] - aucs[1], "low": low_less, "high": high_less, "p": p}
    )
    return figures, differences, len(known)


def _comparisons(settings: Settings) -> list[ComparisonSettings]:
    return [
        each.measure
        for each in settings.measures.values()
        if isinstance(each.measure, ComparisonSettings)
    ]


@cache
def _shipped() -> SimpleRuleSettings:
    [comparison] = _comparisons(compose_settings(["measure=comparison"]))
    return comparison.rule
