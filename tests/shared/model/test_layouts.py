"""A checkpoint has exactly its layout's tensors, or the first of what is wrong are named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared.errors import WeightsError
from shared.model.layouts import PublishedLayout, load_strictly, own_state

LAYOUT = PublishedLayout(lambda name: f"backbone.{name}", frozenset({"head.weight"}))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


def published() -> dict[str, torch.Tensor]:
    state = {f"backbone.{name}": value + 1 for name, value in network().state_dict().items()}
    return state | {"head.weight": torch.zeros(9)}


def refused(state: dict[str, torch.Tensor]) -> str:
    with pytest.raises(WeightsError) as caught:
        own_state(network(), state, LAYOUT)
    assert caught.value.code == "weights.wrong-layout"
    return caught.value.fact


def test_a_published_state_comes_back_under_own_names_without_what_is_unused_or_counted() -> None:
    own, given = network(), published()
    found = own_state(own, given, LAYOUT)
    assert set(found) == {name for name in own.state_dict() if "num_batches" not in name}
    load_strictly(own, found)
    assert all(torch.equal(own.state_dict()[name], given[f"backbone.{name}"]) for name in found)
    without = {name: value for name, value in given.items() if name != "head.weight"}
    assert set(own_state(network(), without, LAYOUT)) == set(found)


def test_missing_unexpected_and_reshaped_tensors_are_counted_and_the_first_three_named() -> None:
    given = published()
    odd = {f"odd.{index}": torch.zeros(1) for index in range(5)}
    fact = refused(given | odd)
    assert "0 missing" in fact
    assert "5 unexpected (odd.0, odd.1, odd.2, …)" in fact
    absent = ("backbone.0.bias", "backbone.1.running_var")
    fact = refused({name: value for name, value in given.items() if name not in absent})
    assert "2 missing (backbone.0.bias, backbone.1.running_var)" in fact
    assert "0 unexpected" in fact
    assert "1 reshaped (backbone.0.bias)" in refused(given | {"backbone.0.bias": torch.zeros(3)})


def test_own_names_are_no_published_ones() -> None:
    fact = refused(dict(network().state_dict()))
    assert "8 missing" in fact
    assert "8 unexpected" in fact


def test_a_file_of_own_names_is_as_strict() -> None:
    own = network()
    state = dict(own.state_dict())
    load_strictly(own, state)
    for wrong in (state | {"odd": torch.zeros(1)}, state | {"0.bias": torch.zeros(3)}):
        with pytest.raises(WeightsError, match=r"1 (unexpected|reshaped)"):
            load_strictly(own, wrong)
    state.pop("2.bias")
    with pytest.raises(WeightsError, match=r"1 missing \(2\.bias\)"):
        load_strictly(own, state)
