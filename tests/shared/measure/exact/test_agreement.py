"""F1 and Cohen's κ are those of scikit-learn, and their parts tell how far they vary."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from shared.errors import ProtocolError
from shared.measure.exact.agreement import f1_influence, kappa_influence


def drawn(n: int, *, n_classes: int = 3, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two models' calls [2,n] of patients whose classes are not equally common, and these [n]."""
    draw = np.random.default_rng(seed)
    true = draw.choice(n_classes, n, p=np.array([5, 3, 2][:n_classes]) / sum([5, 3, 2][:n_classes]))
    wrong = draw.random(n) < [[0.3], [0.4]]  # whom the first errs in, the second errs in too
    return np.where(wrong, draw.integers(0, n_classes, n), true), true


@pytest.mark.parametrize("n_classes", [2, 3])
def test_both_are_what_scikit_learn_says(n_classes: int) -> None:
    called, true = drawn(200, n_classes=n_classes)
    macro, _ = f1_influence(called, true, range(n_classes))
    of_last, _ = f1_influence(called, true, [n_classes - 1])
    kappa, _ = kappa_influence(called, true, n_classes)
    for model, each in enumerate(called):
        assert macro[model] == pytest.approx(f1_score(true, each, average="macro"))
        by_class = f1_score(true, each, average=None)
        assert of_last[model] == pytest.approx(by_class[-1])
        assert kappa[model] == pytest.approx(cohen_kappa_score(true, each))


@pytest.mark.parametrize(
    "measure",
    [
        lambda called, true: f1_influence(called, true, [1]),
        lambda called, true: f1_influence(called, true, range(3)),
        lambda called, true: kappa_influence(called, true, 3),
    ],
    ids=["F1", "macro F1", "kappa"],
)
def test_the_parts_vary_as_the_figure_does_over_samples(measure) -> None:
    called, true = drawn(400)
    _, parts = measure(called, true)
    draw = np.random.default_rng(2)
    again = []
    for _ in range(2000):
        rows = draw.integers(0, true.size, true.size)
        again.append(measure(called[:, rows], true[rows])[0])
    values = np.array(again)
    assert np.sqrt((parts**2).sum(axis=1)) == pytest.approx(values.std(axis=0), rel=0.07)
    paired = sqrt(((parts[0] - parts[1]) ** 2).sum())
    assert paired == pytest.approx((values[:, 0] - values[:, 1]).std(), rel=0.07)
    assert paired < sqrt((parts**2).sum()), "two models err in the same patients"


def test_kappa_has_the_variance_of_a_table_that_is_computed_by_hand() -> None:
    # 40 and 30 agreed, 10 and 20 not: agreement .7, chance .5·.6 + .5·.4 = .5, κ = .4
    true = np.repeat([0, 0, 1, 1], [40, 10, 20, 30])
    called = np.repeat([0, 1, 0, 1], [40, 10, 20, 30])[None]
    kappa, parts = kappa_influence(called, true, 2)
    assert kappa[0] == pytest.approx(0.4)
    variance = _fleiss([[0.4, 0.1], [0.2, 0.3]]) / 100
    assert float((parts**2).sum()) == pytest.approx(variance)


def _fleiss(shares: list[list[float]]) -> float:
    """n times the variance of κ by the paper's equation 13."""
    p = np.array(shares)
    row, column = p.sum(axis=1), p.sum(axis=0)
    agreed, chance = np.trace(p), float(row @ column)
    found = 0.0
    for i in range(len(p)):
        for j in range(len(p)):
            if i == j:
                term = (1 - chance) - (row[i] + column[i]) * (1 - agreed)
                found += p[i, i] * term**2
            else:
                found += (1 - agreed) ** 2 * p[i, j] * (column[i] + row[j]) ** 2
    found -= (agreed * chance - 2 * chance + agreed) ** 2
    return found / (1 - chance) ** 4


def test_who_is_alike_in_everything_has_a_figure_of_one_that_does_not_vary() -> None:
    true = np.array([0, 1, 2, 1, 0])
    for values, parts in (
        f1_influence(true[None], true, range(3)),
        kappa_influence(true[None], true, 3),
    ):
        assert values[0] == pytest.approx(1.0)
        assert np.abs(parts).max() < 1e-12


def test_a_class_that_nobody_has_or_is_called_has_no_figure() -> None:
    true, called = np.zeros(5, dtype=int), np.zeros((1, 5), dtype=int)
    for code, ask in (
        ("protocol.empty-class", lambda: f1_influence(called, true, [1])),
        ("protocol.no-agreement", lambda: kappa_influence(called, true, 2)),
        ("protocol.no-agreement", lambda: kappa_influence(called[:, :0], true[:0], 2)),
    ):
        with pytest.raises(ProtocolError) as caught:
            ask()
        assert caught.value.code == code
