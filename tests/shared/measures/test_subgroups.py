"""Groups of a field, each measured as its own patients are; who lacks the field is a group."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import PolicyError, SettingsError
from shared.measures.figures import is_narrow
from shared.measures.scored import MeasureTask, Scored
from shared.measures.subgroups import Subgroups, SubgroupsSettings
from shared.sums.estimate import TOO_NOISY
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum

SETTINGS = compose_settings()
TASK = MeasureTask(decision_of(SETTINGS), SETTINGS.cohort.fields)
AGE, SEX = (next(i for i, f in enumerate(TASK.fields) if f.name == name) for name in ("age", "sex"))
CLASSES = compose_settings(["experiment=bmd_classes"])


def by_sex(**changes: object) -> Subgroups:
    values = {"field": "sex", "bins": 64, "low": 0.4, "high": 0.9} | changes
    return Subgroups.build(SubgroupsSettings.model_validate({"kind": "subgroups", **values}), TASK)


def people(n: int, *, seed: int = 0) -> Scored:
    draw = np.random.default_rng(seed)
    label = draw.normal(0.65, 0.13, n)
    fields = np.zeros((n, len(TASK.fields)))
    fields[:, AGE] = draw.integers(50, 90, n)
    fields[:, SEX] = draw.choice([0.0, 1.0, np.nan], n, p=[0.6, 0.3, 0.1])
    # men are read worse
    spread = np.where(fields[:, SEX] == 1, 0.12, 0.05)
    return Scored((0.3 + 0.55 * label + draw.normal(0, spread))[:, None], label, fields)


def read(measure: Subgroups, patients: Scored, *, sd: float = 0.0) -> dict[str, object]:
    total = federate(OneSum(measure), [patients], n_declared=1.0).vector
    return dict(measure.read(total, sd=sd, minimum_cell=5, n_expected=len(patients)))


@pytest.mark.parametrize(
    ("measure", "groups"),
    [
        (by_sex(), {"sex female": (SEX, 0, 1), "sex male": (SEX, 1, 2)}),
        (
            by_sex(field="age", edges=[65, 75]),
            {"age < 65": (AGE, 0, 65), "age 65 to 75": (AGE, 65, 75), "age ≥ 75": (AGE, 75, 999)},
        ),
    ],
    ids=["sex", "age"],
)
def test_each_group_is_measured_as_its_own_patients_are(
    measure: Subgroups, groups: dict[str, tuple[int, float, float]]
) -> None:
    patients = people(6000)
    found = read(measure, patients)
    score, label = patients.outputs[:, 0], patients.label
    is_ill, is_called = TASK.rule.is_positive(label), score <= TASK.rule.operating_point
    for name, (column, low, high) in groups.items():
        value = patients.fields[:, column]
        here = (value >= low) & (value < high)
        assert found[f"n, {name}"].value == here.sum()
        expected = metrics.roc_auc_score(is_ill[here], -score[here])
        assert found[f"AUC, {name}"].value == pytest.approx(expected, abs=1e-3)
        assert found[f"sensitivity, {name}"].value == pytest.approx(is_called[here & is_ill].mean())
        assert found[f"specificity, {name}"].value == pytest.approx(
            1 - is_called[here & ~is_ill].mean()
        )


def test_who_lacks_the_field_is_a_group_and_who_has_no_label_is_in_none() -> None:
    patients = people(500)
    patients.label[:50] = np.nan
    found = read(by_sex(), patients)
    lacking = np.isnan(patients.fields[50:, SEX]).sum()
    assert found["n, sex unknown"].value == lacking > 10
    assert sum(each.value for name, each in found.items() if name.startswith("n, ")) == 450


def test_patients_of_each_scanner_are_measured_as_a_group() -> None:
    patients = people(3000)
    makers = (("Acme X-ray",), ("UMBRA",), ("Acme", "Umbra"), ())
    drawn = np.random.default_rng(4).integers(0, 4, 3000)
    patients = Scored(
        patients.outputs, patients.label, patients.fields, tuple(makers[which] for which in drawn)
    )
    found = read(by_sex(field="vendor", vendors=[{"name": "Acme", "words": ["acme"]}]), patients)
    is_ill, score = TASK.rule.is_positive(patients.label), patients.outputs[:, 0]
    for which, name in enumerate(("Acme", "other", "mixed", "unknown")):
        here = drawn == which
        assert found[f"n, vendor {name}"].value == here.sum()
        expected = metrics.roc_auc_score(is_ill[here], -score[here])
        assert found[f"AUC, vendor {name}"].value == pytest.approx(expected, abs=2e-3)


def test_groups_that_nobody_is_expected_in_are_not_read_out_of_noise() -> None:
    acme = [{"name": "Acme", "words": ["acme"]}]
    found = read(by_sex(field="vendor", vendors=acme, bins=6), people(4000), sd=2.0)
    assert found["AUC, vendor mixed"] == found["AUC, vendor unknown"] == TOO_NOISY
    assert found["n, vendor unknown"].value == pytest.approx(4000, abs=50)


def test_the_size_of_a_group_is_as_uncertain_as_the_noise_of_all_its_cells() -> None:
    size = read(by_sex(bins=6), people(4000), sd=2.0)["n, sex female"]
    # ill and not, six bins of each
    assert size.high - size.value == pytest.approx(1.95996 * 2.0 * 12**0.5, rel=1e-4)


def test_a_probability_is_called_from_its_operating_point_on() -> None:
    task = MeasureTask(decision_of(CLASSES), CLASSES.cohort.fields)
    settings = SubgroupsSettings(kind="subgroups", field="sex", bins=10, low=0.0, high=1.0)
    measure = Subgroups.build(settings, task)
    outputs = np.array([[0.7, 0.0, 0.3], [0.71, 0.0, 0.29], [0.0, 0.0, 1.0], [np.nan] * 3])
    patients = Scored(np.tile(outputs, (10, 1)), np.full(40, 2.0), np.zeros((40, len(task.fields))))
    found = read(measure, patients)
    assert found["sensitivity, sex female"].value == 0.5, "0.3 and 1.0 of four; what is no number, none"


def test_under_noise_what_is_shown_was_decided_before() -> None:
    quiet, loud = read(by_sex(bins=6), people(4000), sd=2.0), read(by_sex(bins=6), people(60), sd=4.0)
    assert quiet["AUC, sex female"].value is not None
    assert loud["AUC, sex female"] == TOO_NOISY
    assert loud["n, sex female"].value is not None


def test_an_exact_total_with_a_small_cell_does_not_leave() -> None:
    measure = by_sex(bins=4)
    total = np.full(measure.n_cells, 10.0)
    assert measure.suppress(total, 10).tolist() == total.tolist()
    total[0] = 9.0
    with pytest.raises(PolicyError, match="fewer than 10"):
        measure.suppress(total, 10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"field": "blood type"}, "field must be one of"),
        ({"edges": [1.0]}, "field sex is a category"),
        ({"field": "age"}, "field age is a number"),
        ({"low": 0.7}, "must lie between"),
    ],
)
def test_what_does_not_suit_the_field_or_the_task_is_refused(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        by_sex(**changes)


def test_edges_and_scores_rise() -> None:
    for changes in ({"low": 1.0, "high": 0.0}, {"field": "age", "edges": [75, 65]}):
        with pytest.raises(ValidationError):
            by_sex(**changes)


def test_sensitivity_and_specificity_of_a_cut_are_shown_together_or_not_at_all() -> None:
    n_hidden, measure = 0, by_sex(bins=6)
    for n in (200, 800, 1500, 3000, 6000, 12_000):
        found = measure.expect(float(n), sd=3.7, minimum_cell=5)
        total = np.full(measure.n_cells, 100.0)
        read = measure.read(total, sd=3.7, minimum_cell=5, n_expected=float(n))
        one, other = (read[f"{word}, sex female"] for word in ("sensitivity", "specificity"))
        assert (one == TOO_NOISY) == (other == TOO_NOISY)
        n_hidden += is_narrow("specificity", found["specificity, sex female"]) and other == TOO_NOISY
    assert other != TOO_NOISY
    assert n_hidden, "of some sizes a specificity alone would be narrow"


def test_a_figure_of_a_group_is_foreseen_only_where_its_class_is_twice_what_noise_could_make() -> None:
    measure, sd = by_sex(bins=6), 3.7
    least = 2 * 2 * 1.959964 * sd * 6**0.5 / 0.2  # of two groups; a fifth are ill, in six bins
    for n, is_hidden in ((least - 1, True), (least + 1, False)):
        found = measure.expect(n, sd=sd, minimum_cell=5)
        assert (found["AUC, sex male"] == TOO_NOISY) == is_hidden
        assert (found["sensitivity, sex male"] == TOO_NOISY) == is_hidden
        assert found["specificity, sex male"].value is not None, "four fifths are well"
