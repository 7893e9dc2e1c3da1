"""A published simple rule beside the arms: whose it is, whom it can read, how well it ranks them."""

from __future__ import annotations

import numpy as np
import pytest

from server.federation.compose import compose_settings
from server.simulation.published import build_rule, facts_of, measure_rule, rule_beside
from shared.contract.decision import decision_of
from shared.contract.settings import Settings
from shared.measure.exact.discrimination import delong
from shared.measures.scored import Scored

BMD = compose_settings(["encoder=none", "fusion=clinical_only"])
FIELDS = [field.name for field in BMD.cohort.fields]
AGE, WEIGHT = FIELDS.index("age"), FIELDS.index("weight")


def people(n: int, *, n_lacking: int = 0) -> Scored:
    draw = np.random.default_rng(3)
    fields = np.full((n, len(FIELDS)), np.nan)
    fields[:, AGE], fields[:, WEIGHT] = draw.normal(70, 9, n), draw.normal(70, 13, n)
    label = 0.6 + 0.02 * 0.2 * (fields[:, WEIGHT] - fields[:, AGE]) + draw.normal(0, 0.08, n)
    fields[:n_lacking, WEIGHT] = np.nan
    return Scored((label + draw.normal(0, 0.05, n))[:, None], label, fields)


def measured(settings: Settings, scored: Scored):
    asked = rule_beside(settings)
    assert asked is not None
    return measure_rule("internal", scored, build_rule(asked, settings), decision_of(settings))


def test_where_a_bmd_is_predicted_from_age_and_weight_the_rule_is_ost() -> None:
    found = rule_beside(BMD)
    assert found is not None
    assert (found.name, found.cut, found.calls) == ("OST", 2.0, "below")
    facts = facts_of(found, {"internal": 40})
    assert facts.formula == "0.2·weight − 0.2·age"
    shifted = facts_of(found.model_copy(update={"intercept": -1.5}), {})
    assert shifted.formula == "0.2·weight − 0.2·age − 1.5"
    table = compose_settings(["experiment=hip_table"])
    assert rule_beside(table) == found


def test_there_is_none_where_the_cohort_has_not_its_fields_in_its_units_or_no_bmd() -> None:
    cohort = BMD.cohort
    for changed in (
        {"fields": tuple(field for field in cohort.fields if field.name != "weight")},
        {
            "fields": tuple(
                field.model_copy(update={"unit": "lb"}) if field.name == "weight" else field
                for field in cohort.fields
            )
        },
        {"label": cohort.label.model_copy(update={"kind": "number"})},
    ):
        other = BMD.model_copy(update={"cohort": cohort.model_copy(update=changed)})
        assert rule_beside(other) is None, list(changed)


def test_a_rule_that_was_asked_for_is_the_one_beside() -> None:
    words = ["encoder=none", "fusion=clinical_only", "measure=comparison"]
    own = compose_settings([*words, "measures.comparison.measure.rule.name=mine"])
    found = rule_beside(own)
    assert found is not None
    assert found.name == "mine"


def test_its_auc_and_the_paired_difference_are_of_whom_both_can_read() -> None:
    scored, n_lacking = people(300, n_lacking=40), 40
    figures, differences, n_read = measured(BMD, scored)
    assert n_read == 260
    rest = scored.select(range(n_lacking, 300))
    is_ill = decision_of(BMD).is_positive(rest.label)
    rule = np.round(0.2 * rest.fields[:, WEIGHT] - 0.2 * rest.fields[:, AGE], 6)
    aucs, covariance = delong(np.stack([-rest.outputs[:, 0], -rule]), is_ill)
    auc = next(row for row in figures if row.figure == "AUC")
    assert (auc.arm, auc.value) == ("OST", pytest.approx(aucs[1]))
    assert 0.55 < auc.low < auc.value < auc.high
    less = next(row for row in differences if row.figure == "AUC")
    sd = (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) ** 0.5
    assert less.value == pytest.approx(aucs[0] - aucs[1])
    assert less.high - less.low == pytest.approx(2 * 1.959964 * sd)
    assert {row.figure for row in figures if row.value is None} == {"R²", "MAE"}


def test_where_nobody_has_its_fields_there_is_no_figure() -> None:
    figures, differences, n_read = measured(BMD, people(50, n_lacking=50))
    assert n_read == 0
    assert all(row.value is None for row in (*figures, *differences))
