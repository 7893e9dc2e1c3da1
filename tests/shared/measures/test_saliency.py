"""Agreement of a map with bone against the definitions, written out pixel by pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from shared.measures.saliency import agreement, most_salient


def brute_force(heat: np.ndarray, bone: np.ndarray) -> list[float]:
    """Of places that are all bone or none: every order of ties, the mean intersection of them."""
    n_taken, places = int(bone.sum()), range(len(bone))
    common = []
    for order in itertools.permutations(places):
        salient = sorted(order, key=lambda place: -heat[place])[:n_taken]  # a stable sort
        common.append(sum(bone[place] for place in salient))
    mean, share = float(np.mean(common)) / len(bone), n_taken / len(bone)
    tops = [place for place in places if heat[place] == heat.max()]
    return [
        mean / (2 * share - mean) - share / (2 - share),
        float(np.mean([bone[place] for place in tops])) - share,
        sum(heat[place] for place in places if bone[place]) / heat.sum() - share,
    ]


@pytest.mark.parametrize("seed", range(6))
def test_agreement_is_the_mean_over_all_ways_to_break_ties(seed: int) -> None:
    draw = np.random.default_rng(seed)
    heat = draw.integers(0, 3, 6).astype(float)
    bone = np.zeros(6)
    bone[draw.permutation(6)[: 1 + seed % 4]] = 1.0
    heat[0] = max(heat[0], 1.0)
    assert agreement(heat, bone) == pytest.approx(brute_force(heat, bone))


def test_a_map_on_the_bone_alone_is_as_good_as_can_be_and_one_beside_it_as_bad() -> None:
    bone = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    share = 0.25
    best, worst = agreement(bone, bone), agreement(1.0 - bone, bone)
    assert best == pytest.approx([1 - share / (2 - share), 1 - share, 1 - share])
    assert worst == pytest.approx([-share / (2 - share), -share, -share])


def test_random_maps_are_chance() -> None:
    draw, bone = np.random.default_rng(0), np.zeros(64)
    bone[:20] = 1.0
    found = np.mean([agreement(draw.random(64), bone) for _ in range(4000)], axis=0)
    # the mean of a ratio is a little below the ratio of means
    assert found == pytest.approx([0.0, 0.0, 0.0], abs=0.02)
    assert found[1:] == pytest.approx([0.0, 0.0], abs=0.03)


@pytest.mark.parametrize("heat", [np.zeros(4), np.full(4, np.nan), np.array([1.0, np.inf, 0.0, 0.0])])
def test_a_map_that_says_nothing_is_chance(heat: np.ndarray) -> None:
    assert agreement(heat, np.array([1.0, 0.0, 0.0, 0.0])).tolist() == [0.0, 0.0, 0.0]


def test_places_that_are_bone_in_part_count_in_part_and_the_area_is_as_large_as_the_bone() -> None:
    taken = most_salient(np.array([3.0, 1.0, 1.0, 0.0]), 0.5)
    assert taken.tolist() == [1.0, 0.5, 0.5, 0.0]
    found = agreement(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.0, 0.0]))
    # all energy in the first place, half of which is bone; a quarter of the film is bone
    assert found[1:] == pytest.approx([0.25, 0.25])


def test_every_agreement_lies_within_one_of_chance() -> None:
    draw = np.random.default_rng(3)
    for _ in range(300):
        heat = draw.exponential(1.0, 9) * 10.0 ** draw.integers(-300, 300)
        bone = np.clip(draw.normal(0.3, 0.5, 9), 0.0, 1.0)
        assert np.abs(agreement(heat, bone)).max() <= 1.0
