"""A rule's value by hand, who lacks a field, and what a schema cannot have."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import SettingsError
from shared.measures.scored import MeasureTask, Scored
from shared.measures.simple_rule import SimpleRule, SimpleRuleSettings


def terms(**times: float) -> list[dict[str, object]]:
    return [{"field": name, "times": value} for name, value in times.items()]


SETTINGS = compose_settings()
FIELDS = SETTINGS.cohort.fields
TASK = MeasureTask(decision_of(SETTINGS), FIELDS)
AGE, WEIGHT = (next(i for i, f in enumerate(FIELDS) if f.name == name) for name in ("age", "weight"))
OST = {
    "name": "OST",
    "terms": terms(weight=0.2, age=-0.2),
    "calls": "below",
    "cut": 2.0,
    "low": -4.0,
    "high": 8.0,
}


def rule(**changes: object) -> SimpleRule:
    return SimpleRule.build(SimpleRuleSettings.model_validate(OST | changes), TASK)


def people(*pairs: tuple[float, float]) -> Scored:
    fields = np.full((len(pairs), len(FIELDS)), np.nan)
    fields[:, [WEIGHT, AGE]] = pairs
    return Scored(np.zeros((len(pairs), 1)), np.zeros(len(pairs)), fields)


def test_the_value_of_the_osteoporosis_self_assessment_tool_by_hand() -> None:
    # 0.2·(60 − 70) = −2; 0.2·(70 − 60) = 2, which floating point makes 2.0000000000000018
    found = rule().values(people((60.0, 70.0), (70.0, 60.0), (55.5, 81.0)))
    assert found.tolist() == [-2.0, 2.0, -5.1]
    assert rule(intercept=1.5).values(people((60.0, 70.0))).tolist() == [-0.5]


@pytest.mark.parametrize(
    ("calls", "called"),
    [
        ("below", [True, False, False]),
        ("up to", [True, True, False]),
        ("from", [False, True, True]),
        ("above", [False, False, True]),
    ],
)
def test_the_cut_calls_as_its_word_says(calls: str, called: list[bool]) -> None:
    asked, patients = rule(calls=calls), people((69.0, 60.0), (70.0, 60.0), (71.0, 60.0))
    places = asked.bins.places(asked.values(patients), np.zeros(3, dtype=bool))
    assert asked.bins.is_called[places].tolist() == called


def test_who_lacks_a_field_or_has_no_number_has_no_value() -> None:
    odd = people((np.nan, 70.0), (60.0, np.nan), (np.inf, 70.0), (np.inf, np.inf), (1e308, -1e308))
    assert np.isnan(rule(terms=terms(weight=9.0, age=-9.0)).values(odd)).all()
    # other fields may be missing
    assert np.isfinite(rule().values(people((60.0, 70.0)))).all()


def test_a_value_does_not_depend_on_the_order_in_which_terms_are_named() -> None:
    patients = people((61.7, 70.3), (83.1, 55.9))
    turned = rule(terms=terms(age=-0.2, weight=0.2))
    assert turned.values(patients).tobytes() == rule().values(patients).tobytes()


def test_a_rule_of_what_is_no_number_field_is_refused() -> None:
    for name in ("sex", "calcium"):
        with pytest.raises(SettingsError, match=f"not of \\['{name}'\\]"):
            rule(terms=terms(**{"age": 1.0, name: 1.0}))
    with pytest.raises(SettingsError, match="must lie between"):
        rule(cut=9.0)
    for change in (
        {"terms": []},
        {"terms": 2 * terms(age=1.0)},
        {"name": "Release"},
        {"low": 8.0},
        {"calls": "near"},
        {"name": "a, b"},
    ):
        with pytest.raises(ValidationError):
            rule(**change)
