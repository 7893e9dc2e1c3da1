"""Robust rules: what they give by hand, what no minority can move, and the mean where sites agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from shared.contract.stages import StrategySettings
from shared.train.aggregate import combined
from shared.train.robust import BLOCK, blocks_of, geometric_shares, kept_shares

ROBUST = ("median", "trimmed_mean", "geometric_median")
FRACTION = {5: 0.2, 7: 0.3}  # of the trimmed mean: one of five, two of seven
P = 5
numbers = st.lists(st.floats(-8, 8, width=32), min_size=P, max_size=P)


def strategy_of(rule: str, n_sites: int) -> StrategySettings:
    return StrategySettings(name=rule, trimmed_fraction=FRACTION.get(n_sites, 0.2))


def fold(rule: str, updates: list[list[float]] | np.ndarray) -> np.ndarray:
    vectors = [np.array(update, "<f4") for update in updates]
    return combined(vectors, shares=(), strategy=strategy_of(rule, len(vectors)))


def test_the_median_ignores_one_wild_site() -> None:
    assert fold("median", [[1.0], [2.0], [1e30]])[0] == 2.0


def test_the_trimmed_mean_drops_one_of_five_on_each_side() -> None:
    # fraction 0.2 of 5: drops −100 and 50; (1 + 2 + 6) / 3
    assert fold("trimmed_mean", [[1.0], [50.0], [2.0], [-100.0], [6.0]])[0] == pytest.approx(3.0)


def test_the_trimmed_mean_of_too_few_sites_drops_nobody() -> None:
    # fraction 0.2 of 3 is less than one, and ⌊0.2·9⌋ is 1
    assert fold("trimmed_mean", [[1.0], [2.0], [9.0]])[0] == pytest.approx(4.0)
    assert fold("trimmed_mean", [[float(n)] for n in (-90, 1, 2, 3, 4, 5, 6, 8, 70)])[0] == (
        pytest.approx(29 / 7)
    )


def test_the_geometric_median_of_a_triangle_is_its_fermat_point() -> None:
    # by symmetry on the middle line, where each side is seen under 120°: 1 / tan 60° above the base
    found = fold("geometric_median", [[-1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(found, [0.0, 1 / math.sqrt(3)], atol=1e-5)


@given(updates=st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=3, max_size=7))
@settings(max_examples=15, deadline=None)
def test_nothing_is_nearer_to_all_sites_than_their_geometric_median(updates: list[list[int]]) -> None:
    rows = np.array(updates, np.float64)

    def distance(centre: np.ndarray) -> float:
        return float(np.linalg.norm(rows - centre, axis=1).sum())

    found = distance(fold("geometric_median", rows))
    best = minimize(distance, rows.mean(axis=0), method="Nelder-Mead").fun
    assert found <= min(best, *(distance(row) for row in rows)) * (1 + 2e-3) + 1e-6


@pytest.mark.parametrize("rule", ROBUST)
@given(data=st.data(), n_sites=st.sampled_from([3, 4, 5, 7]))
@settings(max_examples=25, deadline=None)
def test_robust_rules_do_not_depend_on_the_order_of_sites(
    rule: str, data: st.DataObject, n_sites: int
) -> None:
    updates = data.draw(st.lists(numbers, min_size=n_sites, max_size=n_sites))
    order = data.draw(st.permutations(range(n_sites)))
    straight, shuffled = fold(rule, updates), fold(rule, [updates[place] for place in order])
    if rule == "geometric_median":  # its shares are exactly the same, the mean by them rounds
        shares = geometric_shares([np.array(update, "<f4") for update in updates])
        turned = geometric_shares([np.array(updates[place], "<f4") for place in order])
        np.testing.assert_allclose(turned, [shares[place] for place in order], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(straight, shuffled, rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(straight, shuffled)


@pytest.mark.parametrize("rule", ROBUST)
@given(update=numbers, n_sites=st.integers(1, 7))
@settings(max_examples=15, deadline=None)
def test_of_equal_sites_every_rule_is_their_mean(rule: str, update: list[float], n_sites: int) -> None:
    expected = np.array(update, "<f4").astype("<f8")  # of float32 the tolerance itself would round to 0
    np.testing.assert_allclose(fold(rule, [update] * n_sites), expected, rtol=1e-12)


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize(("n_sites", "n_bad"), [(5, 1), (7, 2)])
@given(data=st.data(), wild=st.floats(-(2.0**99), 2.0**99, width=32))
@settings(max_examples=25, deadline=None)
def test_a_minority_can_send_anything_and_moves_the_result_no_further_than_the_honest_differ(
    rule: str, n_sites: int, n_bad: int, data: st.DataObject, wild: float
) -> None:
    honest = np.array(data.draw(st.lists(numbers, min_size=n_sites - n_bad, max_size=n_sites - n_bad)))
    bad = [np.full(P, wild)] * n_bad
    with np.errstate(over="ignore"):
        found = fold(rule, [*bad, *honest])
    centre = honest.mean(axis=0)
    spread = max(np.linalg.norm(honest - centre, axis=1))
    # Lopuhaä & Rousseeuw 1991: a geometric median stays within 2(s − f)/(s − 2f) radii of the honest;
    # a coordinate within what the honest have in it
    reach = (
        2 * (n_sites - n_bad) / (n_sites - 2 * n_bad) if rule == "geometric_median" else math.sqrt(P)
    )
    assert np.linalg.norm(found - centre) <= reach * spread * (1 + 1e-3) + 1e-4


@pytest.mark.parametrize(("rule", "n_sites"), [("median", 5), ("geometric_median", 7)])
def test_a_mean_is_moved_as_far_as_one_site_likes_and_a_robust_rule_is_not(
    rule: str, n_sites: int
) -> None:
    generator = np.random.default_rng(3)
    updates = [*generator.normal(size=(n_sites - 1, 50)), np.full(50, 1e12)]
    shares = [1 / n_sites] * n_sites
    assert np.abs(combined(updates, shares=shares, strategy=StrategySettings())).min() > 1e10
    assert np.abs(fold(rule, updates)).max() < 4


def test_whoever_is_beyond_any_number_has_no_share() -> None:
    updates = [np.array([1.0, 2.0]), np.array([1.5, 2.0]), np.array([1e160, -1e160])]
    shares = geometric_shares(updates)
    assert shares[2] < 1e-150
    assert sum(shares) == pytest.approx(1.0)


def test_shares_over_blocks_are_those_of_whole_distances() -> None:
    generator = np.random.default_rng(7)
    updates = generator.normal(size=(4, 2 * BLOCK + 3))
    updates[0, -3:] += 900.0  # far in the last block alone
    shares = geometric_shares(list(updates))
    centre = np.asarray(shares) @ updates
    inverse = 1 / np.linalg.norm(updates - centre, axis=1)
    np.testing.assert_allclose(shares, inverse / inverse.sum(), rtol=1e-4)
    assert shares[0] < 0.6 * shares[1]
    assert [part.stop - part.start for part in blocks_of(updates.shape[1])] == [BLOCK] * 3


def test_what_was_kept_of_a_site_is_counted_by_coordinates_or_is_its_share() -> None:
    updates = [np.array(row) for row in ([1.0, 9.0, 0.0], [2.0, 2.0, 0.0], [3.0, 3.0, 0.0])]
    # medians: the second site's 2, the third's 3, and of the equal zeros a third each
    np.testing.assert_allclose(
        kept_shares(updates, StrategySettings(name="median")), np.array([1 / 3, 4 / 3, 4 / 3]) / 3
    )
    trimming = StrategySettings(name="trimmed_mean", trimmed_fraction=0.34)
    np.testing.assert_allclose(
        kept_shares(updates, trimming), kept_shares(updates, StrategySettings(name="median"))
    )
    whole = StrategySettings(name="trimmed_mean", trimmed_fraction=0.0)
    np.testing.assert_allclose(kept_shares(updates, whole), [1 / 3] * 3)
    rule = StrategySettings(name="geometric_median")
    assert kept_shares(updates, rule) == geometric_shares(updates)


@pytest.mark.parametrize("rule", ROBUST)
def test_of_a_site_far_from_all_others_next_to_nothing_is_kept(rule: str) -> None:
    generator = np.random.default_rng(11)
    updates = [*generator.normal(size=(4, 40)), np.full(40, 50.0)]
    kept = kept_shares(updates, strategy_of(rule, 5))
    assert sum(kept) == pytest.approx(1.0)
    assert kept[4] < 0.05 < min(kept[:4])
