"""Figures of counts by hand and against scikit-learn, and what is said where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from shared.measures.counts import support_of
from shared.measures.figures import (
    auc_of,
    balanced_accuracy,
    kappa,
    macro_f1,
    mean_of,
    quadratic_kappa,
    share_of,
    smooth_figure,
    worth_showing,
)
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate

CONFUSION = np.array([[50.0, 8, 2], [10, 30, 10], [1, 6, 33]])
TRUE, CALLED = (
    np.repeat(np.indices((3, 3))[axis].ravel(), CONFUSION.ravel().astype(int)) for axis in (0, 1)
)
EXACT = np.zeros((3, 3))


def test_agreement_is_scikit_learns() -> None:
    assert kappa(CONFUSION) == pytest.approx(metrics.cohen_kappa_score(TRUE, CALLED), abs=1e-12)
    weighted = metrics.cohen_kappa_score(TRUE, CALLED, weights="quadratic")
    assert quadratic_kappa(CONFUSION) == pytest.approx(weighted, abs=1e-12)
    assert macro_f1(CONFUSION) == pytest.approx(
        metrics.f1_score(TRUE, CALLED, average="macro"), abs=1e-12
    )
    assert balanced_accuracy(CONFUSION) == pytest.approx(
        metrics.balanced_accuracy_score(TRUE, CALLED), abs=1e-12
    )


def test_the_interval_of_a_smooth_figure_is_as_wide_as_resampled_patients_make_it() -> None:
    draw = np.random.default_rng(0)
    drawn = [
        kappa(draw.multinomial(150, (CONFUSION / 150).ravel()).reshape(3, 3).astype(float))
        for _ in range(4000)
    ]
    found = smooth_figure(kappa, CONFUSION, EXACT, 5)
    assert found.value == pytest.approx(kappa(CONFUSION))
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(np.std(drawn), rel=0.06)
    louder = smooth_figure(kappa, CONFUSION, EXACT + 25.0, 5)
    noisy = [kappa(CONFUSION + draw.normal(0, 5.0, (3, 3))) for _ in range(4000)]
    spread = (np.std(drawn) ** 2 + np.std(noisy) ** 2) ** 0.5
    assert (louder.high - louder.low) / 2 / 1.96 == pytest.approx(spread, rel=0.1)


def test_an_auc_counts_patients_of_one_bin_as_ties() -> None:
    found = auc_of(np.array([0.0, 10, 10]), np.array([10.0, 10, 0]), (0.0, 0.0), 5)
    assert found.value == pytest.approx((10 * 10 * 0.5 + 10 * 10 + 10 * 20) / 400)


def test_an_empty_class_has_no_figure_and_a_small_one_is_not_shown() -> None:
    many, few, none = np.array([20.0, 20]), np.array([2.0, 1]), np.zeros(2)
    assert auc_of(few, many, (0.0, 0.0), 10) == SUPPRESSED
    assert auc_of(none, many, (0.0, 0.0), 10) == NOT_APPLICABLE
    rows = CONFUSION.copy()
    rows[2] = [0, 1, 2]
    assert smooth_figure(kappa, rows, EXACT, 10) == SUPPRESSED
    of = np.zeros((3, 3), dtype=bool)
    of[2] = True
    assert share_of(rows, EXACT, of & np.eye(3, dtype=bool), of, 10) == SUPPRESSED
    hit = share_of(CONFUSION, EXACT, of & np.eye(3, dtype=bool), of, 10)
    assert hit.value == pytest.approx(33 / 40)


def test_a_class_that_is_expected_is_twice_what_noise_alone_could_make_or_has_no_figure() -> None:
    sd, many = 3.0, np.full(3, 100.0)  # of a class of three cells: 2·1.96·3·√3 = 20.37
    of = np.zeros((3, 3), dtype=bool)
    of[0] = True
    for size, is_shown in ((20.3, False), (20.4, True)):
        few = np.full(3, size / 3)
        cells, variance = np.stack([few, many, many]), np.full((3, 3), sd**2)
        options = {"minimum_cell": 0, "is_expected": True}
        for found in (
            auc_of(few, many, (sd, sd), **options),
            auc_of(many, few, (sd, sd), **options),
            share_of(cells, variance, of & np.eye(3, dtype=bool), of, **options),
            smooth_figure(kappa, cells, variance, **options),
        ):
            assert (found != TOO_NOISY) == is_shown, size


def test_a_class_that_came_out_small_has_a_figure_whose_interval_says_that_it_says_nothing() -> None:
    few, many, loud = np.array([1.0, -2.0, 3.0]), np.full(3, 100.0), 8.0
    ranked = auc_of(few, many, (loud, loud), 0)
    cells, of = np.stack([few, many]), np.array([[True] * 3, [False] * 3])
    called = share_of(cells, np.full((2, 3), loud**2), of & (np.arange(3) == 2), of, 0)
    for found in (ranked, called):
        assert (found.low, found.high) == (0.0, 1.0)
    assert auc_of(-few, many, (loud, loud), 0) == NOT_APPLICABLE, "less than nobody"


def test_a_mean_over_classes_is_no_narrower_than_their_mean_and_needs_them_all() -> None:
    parts = [Estimate(status="measured", value=v, low=v - 0.1, high=v + 0.1) for v in (0.7, 0.8, 0.9)]
    found = mean_of(parts)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.7, 0.9))
    assert mean_of([*parts, SUPPRESSED]) == SUPPRESSED


def test_a_count_is_shown_where_noise_moves_it_by_no_more_than_the_largest_that_is_expected() -> None:
    """An interval of 0 to 335 is nothing to say of a group of 22."""
    expected = support_of(["a", "b"], np.array([10.0, 4.0]), 5.0, 10)  # ± 9.8
    found = support_of(["a", "b"], np.array([0.0, 30.0]), 5.0, 10)
    assert worth_showing(found, expected) == found
    loud = support_of(["a", "b"], np.array([10.0, 4.0]), 5.2, 10)  # ± 10.2
    assert set(worth_showing(found, loud).values()) == {TOO_NOISY}


def test_figures_are_shown_where_they_were_expected_to_say_something() -> None:
    narrow = Estimate(status="measured", value=0.8, low=0.7, high=0.9)
    wide = Estimate(status="measured", value=0.8, low=0.3, high=1.0)
    found = {"AUC, a": narrow, "κ": wide, "PPV, a": narrow}
    shown = worth_showing(found, found | {"AUC, a": wide, "κ": narrow})
    assert shown["AUC, a"] == TOO_NOISY
    assert shown["κ"] == wide
    assert shown["PPV, a"] == narrow
    assert worth_showing({"κ": SUPPRESSED}, {"κ": narrow})["κ"] == TOO_NOISY


def test_a_half_of_a_cut_is_not_shown_alone_nor_what_is_composed_of_it() -> None:
    narrow = Estimate(status="measured", value=0.9, low=0.85, high=0.95)
    wide = Estimate(status="measured", value=0.9, low=0.1, high=1.0)
    cuts = ("release", "OST", "release - OST")
    names = [f"{word}, {of}" for word in ("sensitivity", "specificity") for of in cuts]
    both = dict.fromkeys([*names, "balanced accuracy", "κ", "macro F1", "accuracy", "PPV, a"], narrow)
    assert set(worth_showing(both, both).values()) == {narrow}
    half = both | {"sensitivity, release - OST": wide, "NPV, a": wide}
    found = worth_showing(half, half)
    hidden = {name for name, each in found.items() if each == TOO_NOISY}
    whole_cuts = {name for name in names if not name.endswith("release - OST")}
    assert hidden == both.keys() - whole_cuts - {"accuracy", "PPV, a"} | {"NPV, a"}
