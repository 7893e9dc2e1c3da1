"""Aggregation rules against values computed by hand and algebra that must hold for any updates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract.settings import StrategySettings
from shared.errors import RunError
from shared.train.aggregate import next_weights, renormalised, tail_average
from shared.train.robust import BLOCK, weighted_mean

updates_of_sites = st.integers(1, 7).flatmap(
    lambda n: st.lists(
        st.lists(st.floats(-8, 8, width=32), min_size=5, max_size=5), min_size=n, max_size=n
    )
)
RULES = ["fedavg", "fedprox", "fedadam", "median", "trimmed_mean"]  # coordinate by coordinate


def fold(rule: str, updates: list[list[float]], shares: list[float] | None = None) -> np.ndarray:
    vectors = [np.array(update, "<f4") for update in updates]
    weights, _ = next_weights(
        np.zeros(vectors[0].size, "<f4"),
        vectors,
        shares=shares or [1 / len(vectors)] * len(vectors),
        memory={},
        strategy=StrategySettings(name=rule),
    )
    return weights


def test_fedavg_weighs_updates_by_their_shares() -> None:
    # 0.5·4 + 0.3·(−2) + 0.2·10 = 3.4
    assert fold("fedavg", [[4.0], [-2.0], [10.0]], [0.5, 0.3, 0.2])[0] == pytest.approx(3.4)


def test_shares_are_multiplied_in_float64() -> None:
    third = weighted_mean([np.array([1.0], "<f4")] * 3, [1 / 3] * 3)
    assert third[0] == 1.0, "three float32 thirds are more than one"


def test_the_server_learning_rate_scales_the_step() -> None:
    weights, _ = next_weights(
        np.array([1.0], "<f4"),
        [np.array([2.0], "<f4")],
        shares=[1.0],
        memory={},
        strategy=StrategySettings(name="fedavg", server_learning_rate=0.25),
    )
    assert weights[0] == pytest.approx(1.5)


def test_fedadam_follows_two_steps_computed_by_hand() -> None:
    # τ 0.5, β1 0.5, β2 0.75, v₋₁ = τ² = 0.25, η 1
    # step 1: Δ 2: m 1, v 0.75·0.25 + 0.25·4 = 1.1875, x = 1/(1.0897247 + 0.5)
    # step 2: Δ 0: m 0.5, v 0.890625, x += 0.5/(0.9437293 + 0.5)
    strategy = StrategySettings(name="fedadam", adam_beta1=0.5, adam_beta2=0.75, adam_tau=0.5)
    weights, memory = next_weights(
        np.zeros(1, "<f4"), [np.array([2.0], "<f4")], shares=[1.0], memory={}, strategy=strategy
    )
    assert weights[0] == pytest.approx(1 / 1.5897247, rel=1e-6)
    weights, memory = next_weights(
        weights, [np.zeros(1, "<f4")], shares=[1.0], memory=memory, strategy=strategy
    )
    assert weights[0] == pytest.approx(1 / 1.5897247 + 0.5 / 1.4437293, rel=1e-6)


@given(updates=updates_of_sites, data=st.data())
@settings(max_examples=40, deadline=None)
def test_fedavg_depends_on_the_order_of_sites_by_rounding_only(
    updates: list[list[float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(updates))))
    shares = renormalised([site + 1.0 for site in range(len(updates))])
    straight = fold("fedavg", updates, list(shares))
    shuffled = fold("fedavg", [updates[i] for i in order], [shares[i] for i in order])
    np.testing.assert_allclose(straight, shuffled, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", ["fedavg", "fedprox", "median", "trimmed_mean", "geometric_median"])
@given(update=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=9))
@settings(max_examples=25, deadline=None)
def test_a_single_site_is_taken_as_it_is(rule: str, update: list[float]) -> None:
    np.testing.assert_array_equal(fold(rule, [update]), np.array(update, "<f4"))


@pytest.mark.parametrize("rule", RULES)
def test_blocks_give_what_one_block_gives(rule: str) -> None:
    generator = np.random.default_rng(7)
    updates = generator.normal(size=(5, 2 * BLOCK + 3)).astype("<f4")
    whole = fold(rule, list(updates))
    edge = slice(BLOCK - 2, BLOCK + 2)
    np.testing.assert_array_equal(whole[edge], fold(rule, [update[edge] for update in updates]))


def test_weights_are_renormalised_over_the_sites_present() -> None:
    assert renormalised([0.5, 0.3]) == pytest.approx((0.625, 0.375))


def test_sites_without_any_weight_cannot_be_averaged() -> None:
    with pytest.raises(RunError) as caught:
        renormalised([0.0, 0.0])
    assert caught.value.code == "run.no-weight"


def test_the_tail_average_is_the_plain_mean() -> None:
    rounds = [np.array([1.0, 2.0], "<f4"), np.array([4.0, -2.0], "<f4")]
    np.testing.assert_array_equal(tail_average(rounds), np.array([2.5, 0.0], "<f4"))
