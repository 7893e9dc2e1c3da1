"""Ranking lost with the bone: AUCs of each reading against scikit-learn, paired intervals, no masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import PolicyError, SettingsError
from shared.measures.bone import Bone, BoneSettings
from shared.measures.scored import MeasureTask, Scored
from shared.sums.estimate import NOT_ASSESSED, TOO_NOISY, Estimate
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum
from shared.sums.paired import auc_difference

TASK = MeasureTask(decision_of(compose_settings()), ())
SETTINGS = BoneSettings(kind="bone", bins=6, low=0.5, high=0.8)
MEASURE = Bone.build(SETTINGS, TASK)
READINGS = ("AUC", "AUC, bone hidden", "AUC, as much else hidden")
DELTAS = ("AUC, Δ bone", "AUC, Δ random", "AUC, Δ bone - Δ random")


def people(n: int, *, bone: float = 0.8, masked: float = 1.0, seed: int = 0) -> Scored:
    """The bone carries the share ``bone`` of what the score knows; what else is hidden, a little."""
    draw = np.random.default_rng(seed)
    label = draw.normal(0.66, 0.12, n)
    knows = 0.5 * (label - 0.66)
    error = draw.normal(0.0, 0.04, n)
    own = 0.66 + knows + error
    hidden = 0.66 + (1.0 - bone) * knows + error + draw.normal(0.0, 0.02, n)
    other = own + draw.normal(0.0, 0.02, n)
    return Scored(
        own[:, None],
        label,
        np.zeros((n, 0)),
        replaced=np.stack([hidden, other], axis=1)[:, :, None],
        is_assessed=np.arange(n) < masked * n,
    )


def total_of(patients: Scored, measure: Bone = MEASURE) -> np.ndarray:
    return federate(OneSum(measure), [patients], n_declared=1.0).vector


def binned(scores: np.ndarray) -> np.ndarray:
    """Bins by rising suspicion, which is falling BMD, from the definition of their edges."""
    edges = np.linspace(0.5, 0.8, 7)[1:-1]
    assert TASK.rule.operating_point in edges.round(9)
    return -np.array([sum(score > edge for edge in edges) for score in scores])


def test_each_reading_has_the_auc_of_its_binned_scores_and_each_delta_is_their_difference() -> None:
    patients = people(1500)
    found = MEASURE.read(total_of(patients), sd=0.0, minimum_cell=10, n_expected=1500)
    is_ill = patients.label <= 0.558
    scores = [patients.outputs[:, 0], patients.replaced[:, 0, 0], patients.replaced[:, 1, 0]]
    aucs = [roc_auc_score(is_ill, binned(each)) for each in scores]
    for name, auc in zip(READINGS, aucs, strict=True):
        assert found[name].value == pytest.approx(auc, abs=1e-9)
    expected = (aucs[0] - aucs[1], aucs[0] - aucs[2], aucs[2] - aucs[1])
    for name, delta in zip(DELTAS, expected, strict=True):
        assert found[name].value == pytest.approx(delta, abs=1e-9)
    assert found["AUC, Δ bone - Δ random"].low > 0.05, "the bone carries most of it"
    assert found["n, assessed"].value == 1500


def test_a_difference_has_the_interval_of_pairs_and_not_of_strangers() -> None:
    patients = people(900)
    found = MEASURE.read(total_of(patients), sd=0.0, minimum_cell=10, n_expected=900)
    is_ill = patients.label <= 0.558
    own, other = (-binned(each) for each in (patients.outputs[:, 0], patients.replaced[:, 1, 0]))
    joint = np.zeros((2, 6, 6))
    for ill, first, second in zip(is_ill, own, other, strict=True):
        joint[int(ill), 5 - first, 5 - second] += 1
    pair = auc_difference(joint[1], joint[0], cell_sd=0.0, confidence=0.95)
    assert found["AUC, Δ random"].low == pytest.approx(pair.low, abs=1e-9)
    half = found["AUC, Δ random"].high - found["AUC, Δ random"].low
    strangers = math.hypot(*(found[name].high - found[name].low for name in (READINGS[0], READINGS[2])))
    assert half < 0.7 * strangers


def test_hiding_what_the_score_does_not_read_loses_nothing() -> None:
    found = MEASURE.read(total_of(people(3000, bone=0.0)), sd=0.0, minimum_cell=10, n_expected=3000)
    for name in DELTAS:
        assert found[name].value == pytest.approx(0.0, abs=0.03)
    assert found["AUC, Δ bone - Δ random"].low < 0.0 < found["AUC, Δ bone - Δ random"].high


def test_nobody_exceeds_the_norm_and_every_assessed_patient_has_all_of_it() -> None:
    patients = people(50, masked=0.5)
    lengths = np.linalg.norm(MEASURE.rows_of(patients), axis=1)
    assert lengths == pytest.approx(np.full(50, MEASURE.norm))
    assert pytest.approx(math.sqrt(1 + 0.25**2)) == MEASURE.norm


def test_intervals_hold_the_truth_under_noise() -> None:
    large = MEASURE.read(total_of(people(200_000, seed=99)), sd=0.0, minimum_cell=1, n_expected=1e5)
    draw, sd, held = np.random.default_rng(1), 2.0, dict.fromkeys((*READINGS, *DELTAS), 0)
    for seed in range(120):
        noisy = total_of(people(1500, seed=seed)) + draw.normal(0.0, sd, MEASURE.n_cells)
        found = MEASURE._figures(noisy, sd=sd, minimum_cell=0)
        for name in held:
            true = large[name].value
            assert true is not None
            held[name] += found[name].low <= true <= found[name].high
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / 120)
    assert min(held.values()) / 120 > least, held


@pytest.mark.parametrize("sd", [0.0, 1.5])
def test_a_cohort_without_masks_is_not_assessed_whatever_the_noise(sd: float) -> None:
    noise = sd * np.random.default_rng(0).normal(size=MEASURE.n_cells)
    noise[0] = 0.3 * sd
    total = total_of(people(900, masked=0.0)) + noise
    found = MEASURE.read(total, sd=sd, minimum_cell=10, n_expected=900)
    assert {found[name] for name in (*READINGS, *DELTAS)} == {NOT_ASSESSED}


def test_what_noise_was_expected_to_swallow_is_not_said_whatever_came_out() -> None:
    found = MEASURE.read(total_of(people(9000)), sd=8.0, minimum_cell=10, n_expected=80)
    assert {found[name] for name in DELTAS} == {TOO_NOISY}
    shown = MEASURE.read(total_of(people(9000)), sd=8.0, minimum_cell=10, n_expected=9000)
    assert shown["AUC, Δ bone"].value is not None


def test_a_score_that_is_no_number_ranks_against_its_class() -> None:
    label, nothing = np.array([0.5, 0.8]), np.full((2, 1), np.nan)
    patients = Scored(
        label[:, None],
        label,
        np.zeros((2, 0)),
        replaced=np.stack([nothing, label[:, None]], axis=1),
        is_assessed=np.ones(2, dtype=np.bool_),
    )
    found = MEASURE.read(total_of(patients), sd=0.0, minimum_cell=1, n_expected=2)
    aucs: list[Estimate] = [found[name] for name in READINGS]
    assert [each.value for each in aucs] == [1.0, 0.0, 1.0]


def test_an_exact_total_leaves_only_without_a_cell_of_a_few() -> None:
    with pytest.raises(PolicyError, match="with bone hidden") as caught:
        MEASURE.suppress(total_of(people(200)), 10)
    assert caught.value.code == "policy.cell-too-small"
    alike = np.repeat([0.5, 0.8], 10)
    patients = Scored(
        alike[:, None],
        alike,
        np.zeros((20, 0)),
        replaced=np.stack([alike, alike], axis=1)[:, :, None],
        is_assessed=np.ones(20, dtype=np.bool_),
    )
    total = total_of(patients)
    assert MEASURE.suppress(total, 10) is total
    with pytest.raises(PolicyError):
        MEASURE.suppress(total, 11)


def test_ends_that_do_not_rise_and_models_without_films_are_refused() -> None:
    with pytest.raises(ValidationError, match="low must lie below high"):
        BoneSettings(kind="bone", low=0.8, high=0.5)
    with pytest.raises(SettingsError) as caught:
        Bone.build(SETTINGS, MeasureTask(TASK.rule, (), looks_at_films=False))
    assert caught.value.code == "settings.needs-films"
