"""Components and path of a run's matrix, against numpy and scikit-learn on the pooled columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from practice_learners import SITES, learner_plan, patients_of, played, stage_of
from practice_patients import read
from sklearn.linear_model import lars_path_gram

from server.report.readings import cluster_rows, component_rows, kept_rows, path_rows, read_again
from shared.errors import RunError
from shared.stages.learner import LearnerSum, table_task


def pooled(plan) -> tuple[np.ndarray, np.ndarray]:
    asked = LearnerSum(plan, stage_of(plan), None)
    found = [asked.columns_of(patients) for patients in patients_of(plan)]
    columns = np.vstack([each.columns for each in found])
    target = np.concatenate([each.target for each in found])
    return columns - columns.mean(axis=0), target - target.mean()


def test_components_are_those_of_the_pooled_columns() -> None:
    plan = learner_plan("ridge", SITES)
    found = read_again(plan, played(plan)[-1]).components
    columns, _ = pooled(plan)
    values = np.linalg.svd(columns, compute_uv=False) ** 2
    shares = values / values.sum()
    assert [each.share for each in found] == pytest.approx(shares[: len(found)], rel=0.05)
    assert found[0].share > found[-1].share
    _, _, directions = np.linalg.svd(columns, full_matrices=False)
    names = [column.name for column in table_task(plan.settings, 1.0).columns]
    of_first = dict(zip(names, directions[0], strict=True))
    told = np.array(list(found[0].weights.values()))
    own = np.array([of_first[name] for name in found[0].weights])
    assert told[0] > 0
    # rows beyond the bound were scaled down
    assert np.sign(told @ own) * own == pytest.approx(told, abs=0.1)
    others = set(names) - set(found[0].weights)
    assert max(abs(of_first[name]) for name in others) < np.abs(told).min() + 0.1


def test_the_path_keeps_the_columns_that_scikit_learn_keeps() -> None:
    plan = learner_plan("ridge", SITES, learner={**read("learner/second_moments"), "penalty": 0.0})
    state = played(plan)[-1]
    state = replace(state, memory={**state.memory, "noise": np.zeros(2)})
    names = [column.name for column in table_task(plan.settings, 1.0).columns]
    scatter, f = state.memory["scatter"], len(names)
    values, vectors = np.linalg.eigh(scatter[:f, :f])
    gram = (vectors * np.maximum(values, 0.0)) @ vectors.T
    alphas, _, weights = lars_path_gram(scatter[:f, f], gram, n_samples=1, method="lasso")
    path = read_again(plan, state).path
    assert path[0].kept == ()
    assert len(path[-1].kept) > 3
    for step in path[1:]:
        at = [np.interp(step.penalty, alphas[::-1], row[::-1]) for row in weights]
        kept = {name for name, weight in zip(names, at, strict=True) if abs(weight) > 1e-9}
        assert set(step.kept) == kept


def test_what_noise_alone_reaches_is_said() -> None:
    plan = learner_plan("ridge", SITES)
    state = played(plan)[-1]
    loud = replace(state, memory={**state.memory, "noise": np.array([1e6, 1e6])})
    readings = read_again(plan, loud)
    assert not any(each.above_noise for each in readings.components)
    assert not any(step.above_noise for step in readings.path)
    assert {row[2] for row in component_rows(readings)} == {"no"}
    assert {row[1] for row in path_rows(readings)} == {"no"}
    quiet = replace(state, memory={**state.memory, "noise": np.array([0.0, 0.0])})
    assert all(each.above_noise for each in read_again(plan, quiet).components if each.share > 1e-9)


def test_classes_have_components_and_no_path() -> None:
    plan = learner_plan("discriminants", SITES)
    readings = read_again(plan, played(plan)[-1])
    assert readings.components
    assert readings.path == ()


def test_of_a_selection_the_columns_kept_are_told_by_falling_score() -> None:
    learner = {**read("learner/selection"), "keep": 5}
    plan = learner_plan("proportional_odds", SITES, learner=learner, epsilon=1.0)
    state = played(plan)[-1]
    names = [column.name for column in table_task(plan.settings, 1.0).columns]
    scores = state.vector[: len(names)]
    expected = [names[place] for place in np.argsort(-scores, kind="stable")[:5]]
    found = read_again(plan, state)
    assert list(found.kept) == expected
    assert found.components == ()
    assert kept_rows(found)[0] == ("1", expected[0])
    assert not found.clusters
    assert not found.is_public_choice


def clustered(plan, share: float) -> dict[str, object]:
    """A selection by public clusters of two columns, the even ones their representatives."""
    names = [column.name for column in table_task(plan.settings, 3.0).columns]
    public = [
        {"column": name, "cluster": 1 + at // 2, "explained": 0.5 if at % 2 else 0.9}
        for at, name in enumerate(names)
    ]
    by = {"kind": "varclus", "shares": [{"up_to_epsilon": 50, "share": share}], "public": public}
    return {**read("learner/selection"), "by": by, "keep": (len(names) + 1) // 2}


@pytest.mark.parametrize(("share", "epsilon"), [(0.0, 3.0), (0.25, 0.05)])
def test_public_clusters_are_told_with_their_representatives_and_that_they_chose(
    share: float, epsilon: float
) -> None:
    plain = learner_plan("proportional_odds", SITES, epsilon=epsilon)
    plan = learner_plan("proportional_odds", SITES, learner=clustered(plain, share), epsilon=epsilon)
    names = [column.name for column in table_task(plan.settings, epsilon).columns]
    found = read_again(plan, played(plan)[-1])
    assert found.is_public_choice, "nothing is paid, or few patients' matrix is all noise"
    assert list(found.kept) == names[::2]
    assert [each.representative for each in found.clusters] == names[::2]
    number, representative, members = cluster_rows(found)[0]
    assert (number, representative) == ("1", names[0])
    assert members == f"{names[0]} 0.90, {names[1]} 0.50"


def test_another_learner_and_a_run_that_has_not_ended_are_refused() -> None:
    forest = learner_plan("forest", SITES)
    with pytest.raises(RunError, match="keeps no matrix") as caught:
        read_again(forest, played(forest)[-1])
    assert caught.value.code == "run.nothing-to-read"
    ridge = learner_plan("ridge", SITES)
    with pytest.raises(RunError, match="has not ended"):
        read_again(ridge, played(ridge)[1])
