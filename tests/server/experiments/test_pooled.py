"""Ours beside scikit-learn's on the same patients: paired, and why where ours lies far off."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from server.experiments import pooled
from server.experiments.learners import (
    ENTRIES,
    QUICK,
    Measured,
    Population,
    classes_of,
    join_columns,
    measure_figure,
)
from server.experiments.learners_page import read_learners
from server.experiments.pooled import NO_PEER, PEERS, compare_pooled, pooled_lines, reasons_amiss
from server.federation.compose import compose_settings
from shared.features.columns import Columns, name_columns
from shared.measure.exact.discrimination import measure_auc
from shared.measure.exact.regression import measure_regression

SETTINGS = compose_settings()


def patients(n: int, seed: int) -> Columns:
    columns = name_columns(SETTINGS.cohort.fields, channels=SETTINGS.encoder.token_channels)
    draw = np.random.default_rng(seed)
    values = np.array([column.spread for column in columns]) * draw.normal(size=(n, len(columns)))
    return Columns(values, values[:, 48] - 0.8 + 0.5 * draw.normal(size=n))


def population(seed: int) -> Population:
    sites = {"small": patients(90, seed), "large": patients(180, seed + 1)}
    return Population(sites, patients(200, seed + 2), patients(20, seed + 3))


def compared_at(difference: float, name: str = "logistic") -> Measured:
    arms = {
        "ours": [(0.8, 0.01)],
        "scikit-learn": [(0.81, 0.01)],
        "difference": [(difference, 0.001)],
    }
    return Measured(name=f"{name}, beside scikit-learn", figure="AUC", arms=arms)


def test_every_learner_has_a_peer_or_its_reason() -> None:
    assert not set(PEERS) & set(NO_PEER)
    assert {*PEERS, *NO_PEER} == {entry.name for entry in ENTRIES}


def test_every_peer_learns_from_the_pooled_patients_and_is_kept(tmp_path: Path) -> None:
    kept, told = tmp_path / "kept.jsonl", []
    found = compare_pooled(
        size=QUICK, populations=lambda: [population(1)], kept=kept, progress=told.append
    )
    assert told == [each.name for each in found]
    assert len(told) == len(PEERS)
    for each in found:
        [(ours, _)], [(theirs, _)], [(difference, _)] = each.arms.values()
        assert difference == pytest.approx(ours - theirs, abs=1e-12)
        assert theirs > (0.6 if each.figure == "AUC" else 0.3), each.name
    again = compare_pooled(size=QUICK, populations=partial(pytest.fail, "drawn"), kept=kept)
    assert [each.name for each in again] == told
    assert [each.arms["difference"][0][0] for each in again] == [
        each.arms["difference"][0][0] for each in found
    ]


def test_a_peers_figure_is_that_of_its_model_on_standardised_columns() -> None:
    one = population(1)
    training, fresh = join_columns(list(one.sites.values())), one.fresh
    scaler = StandardScaler().fit(training.columns)
    seen = scaler.transform(fresh.columns)
    by_name = {entry.name: entry for entry in ENTRIES}
    ridge = RidgeCV(np.logspace(-1, 4, 26)).fit(scaler.transform(training.columns), training.target)
    expected = {"ridge": measure_regression(fresh.target, ridge.predict(seen)).r2}
    classes, truth = classes_of(training, SETTINGS), classes_of(fresh, SETTINGS).target
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(
        scaler.transform(classes.columns), classes.target
    )
    shares = model.predict_proba(seen)
    expected["discriminants (LDA)"] = np.mean(
        [measure_auc(shares[:, index], truth == index) for index in range(3)]
    )
    for name, value in expected.items():
        found = pooled._compare(by_name[name], PEERS[name], SETTINGS, [one])
        assert found.arms["scikit-learn"][0][0] == pytest.approx(value, abs=1e-12)
        ours = measure_figure(by_name[name], SETTINGS, None, [[training]], fresh)
        assert found.arms["ours"][0][0] == pytest.approx(ours, abs=1e-12)


def test_scores_of_a_joint_margin_are_read_as_ours_are(monkeypatch: pytest.MonkeyPatch) -> None:
    one = population(1)
    training = classes_of(join_columns(list(one.sites.values())), SETTINGS)
    model = make_pipeline(StandardScaler(), LinearSVC(multi_class="crammer_singer", C=0.01))
    model.fit(training.columns, training.target)
    scores, truth = model.decision_function(one.fresh.columns), classes_of(one.fresh, SETTINGS).target

    def macro(output: np.ndarray) -> float:
        return float(np.mean([measure_auc(output[:, index], truth == index) for index in range(3)]))

    weights = np.exp(scores / 0.5)  # the smoothing of configs/learner/linear_svm.yaml
    expected = macro(weights / weights.sum(axis=1, keepdims=True))
    assert abs(expected - macro(scores)) > 1e-3, "read either way they rank alike"
    [entry] = [entry for entry in ENTRIES if entry.name == "linear SVM"]
    peer = replace(PEERS["linear SVM"], make=lambda: [model[-1]])
    found = pooled._peer_figure(
        entry, peer, SETTINGS, join_columns(list(one.sites.values())), one.fresh
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_whoever_has_an_ordered_score_has_no_peer_wherever_it_stands() -> None:
    ordered = {entry.name for entry in ENTRIES if "proportional odds" in entry.name}
    assert ordered == set(pooled.names_of("scikit-learn has no model of ordered classes"))


def test_a_difference_is_paired_by_population() -> None:
    entry = next(entry for entry in ENTRIES if entry.name == "naive Bayes")
    drawn = [population(seed) for seed in (1, 11, 21)]
    alone = [pooled._compare(entry, PEERS[entry.name], SETTINGS, [one]).arms for one in drawn]
    differences = [arms["difference"][0][0] for arms in alone]
    [(value, error)] = pooled._compare(entry, PEERS[entry.name], SETTINGS, drawn).arms["difference"]
    assert value == pytest.approx(np.mean(differences), abs=1e-12)
    assert error == pytest.approx(np.std(differences, ddof=1) / 3**0.5, abs=1e-12)


def test_the_section_says_which_lie_far_below_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    why = {**PEERS, "logistic": replace(PEERS["logistic"], why="it is clipped")}
    monkeypatch.setattr(pooled, "PEERS", why)
    near = compared_at(-0.0199, name="boosting")
    text = "\n".join(pooled_lines([compared_at(-0.0201), near], QUICK))
    assert (
        "1 of 2 lie more than 0.02 below or above scikit-learn's:\n\n- logistic: it is clipped." in text
    )
    row = "| logistic | AUC | 0.800 ± 0.010 | 0.810 ± 0.010 | -0.020 ± 0.001 | LogisticRegression |"
    assert row in text
    assert "has no model of ordered classes" in text
    text = "\n".join(pooled_lines([near], QUICK))
    assert "0 of 1 lie more than 0.02 below or above scikit-learn's.\n" in text


@pytest.mark.parametrize("gap", [-0.03, 0.03])
def test_a_gap_needs_its_reason_and_a_reason_its_gap(
    gap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = compared_at(gap)
    monkeypatch.setattr(pooled, "PEERS", {"logistic": replace(PEERS["logistic"], why="")})
    assert reasons_amiss([far]) == ["logistic"]
    assert reasons_amiss([compared_at(gap / 3)]) == []
    monkeypatch.setattr(pooled, "PEERS", {"logistic": replace(PEERS["logistic"], why="it is clipped")})
    assert reasons_amiss([far]) == []
    assert reasons_amiss([compared_at(gap / 3)]) == ["logistic"]


def test_what_is_kept_has_every_peer_and_a_reason_exactly_where_ours_is_far_off() -> None:
    kept = read_learners().pooled
    assert [found.name.removesuffix(", beside scikit-learn") for found in kept] == [
        entry.name for entry in ENTRIES if entry.name in PEERS
    ]
    assert reasons_amiss(kept) == [], "say why in server/experiments/pooled.py, or take it away"
