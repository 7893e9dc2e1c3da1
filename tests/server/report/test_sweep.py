"""Arms beside each other: how much the best of several flatters itself, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from server.report.sweep import ArmFigures, ArmResult, expected_best, find_best
from shared.sums.estimate import TOO_NOISY, Estimate


def auc(value: float, half: float) -> Estimate:
    return Estimate(status="measured", value=value, low=value - half, high=value + half)


def arm(name: str, internal: Estimate | None) -> ArmResult:
    status = "measured" if internal is not None else "missing"
    return ArmResult(
        arm=name,
        run=f"sweep-{name}",
        release_sha256="0" * 64,
        training_epsilon=1.0,
        figures=(ArmFigures(kind="internal", status=status, auc=internal),),
    )


def test_the_best_of_equal_arms_is_the_mean_of_a_largest_normal() -> None:
    # means of the largest of n standard normals: closed forms for 2 and 3, Harter 1961 for 12
    assert expected_best([1.0, 1.0]) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-6)
    assert expected_best([2.0] * 3) == pytest.approx(2 * 1.5 / math.sqrt(math.pi), abs=1e-6)
    assert expected_best([1.0] * 12) == pytest.approx(1.62923, abs=1e-5)


def test_the_best_of_unequal_arms_counts_each_noise() -> None:
    # E max(X, Y) = sd(X − Y)/√(2π) for two independent normals of mean 0
    assert expected_best([3.0, 4.0]) == pytest.approx(5 / math.sqrt(2 * math.pi), abs=1e-5)
    assert expected_best([3.0, 0.0]) == pytest.approx(3 / math.sqrt(2 * math.pi), abs=1e-5)
    assert expected_best([0.0, 0.0]) == 0.0
    assert expected_best([1.0]) == pytest.approx(0.0, abs=1e-9)
    drawn = np.random.default_rng(5).normal(0, [0.5, 1.0, 1.0, 2.0], size=(400_000, 4)).max(axis=1)
    assert expected_best([0.5, 1.0, 1.0, 2.0]) == pytest.approx(drawn.mean(), abs=0.01)


def test_the_best_arm_stands_beside_the_next_best_and_what_chance_makes() -> None:
    arms = [arm("a", auc(0.70, 0.098)), arm("b", auc(0.80, 0.098)), arm("c", auc(0.75, 0.098))]
    found = find_best("internal", arms)
    assert found is not None
    assert (found.arm, found.next_best, found.n_arms) == ("b", "c", 3)
    assert found.difference.value == pytest.approx(0.05)
    # an interval of ± .098 is an SD of .05
    assert found.difference.high == pytest.approx(0.05 + 1.95996 * 0.05 * math.sqrt(2), abs=1e-4)
    assert found.p == pytest.approx(0.4795, abs=1e-3)
    assert found.above_mean == pytest.approx(0.05)
    assert found.by_chance == pytest.approx(0.05 * 1.5 / math.sqrt(math.pi), abs=1e-4)


def test_arms_without_an_auc_take_no_part_and_one_alone_is_no_best() -> None:
    shown, noisy, absent = arm("a", auc(0.7, 0.1)), arm("b", TOO_NOISY), arm("c", None)
    assert find_best("internal", [shown, noisy, absent]) is None
    assert find_best("external", [shown, shown]) is None
    found = find_best("internal", [absent, shown, noisy, arm("d", auc(0.6, 0.1))])
    assert found is not None
    assert (found.arm, found.n_arms) == ("a", 2)
