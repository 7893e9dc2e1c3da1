"""Flat weights are the model, and a weights file is what its hash says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared.contract.protocol import vector_sha256
from shared.errors import WeightsError
from shared.model.weights import (
    flatten_weights,
    layout,
    layout_sha256,
    load_flat,
    read_weights,
    write_weights,
)


def make_model(inputs: int = 3, hidden: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, 1))


def test_layout_names_shapes_in_order() -> None:
    assert layout(make_model()) == [
        ("0.weight", [2, 3]),
        ("0.bias", [2]),
        ("1.weight", [2]),
        ("1.bias", [2]),
        ("2.weight", [1, 2]),
        ("2.bias", [1]),
    ]


@given(inputs=st.integers(1, 5), hidden=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_load_then_flatten_is_identity(inputs: int, hidden: int, seed: int) -> None:
    model = make_model(inputs, hidden)
    vector = np.random.default_rng(seed).normal(size=len(flatten_weights(model)))
    vector = vector.astype(np.float32)
    load_flat(model, vector)
    assert np.array_equal(flatten_weights(model), vector)


def test_flatten_follows_the_layout() -> None:
    model = make_model()
    load_flat(model, np.arange(15, dtype=np.float32))
    assert model.get_parameter("0.weight").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert model.get_parameter("2.bias").tolist() == [14]


def test_frozen_tensors_do_not_travel() -> None:
    model = make_model()
    model.get_parameter("0.weight").requires_grad_(False)
    assert len(flatten_weights(model)) == 15 - 6
    assert layout(model)[0][0] == "0.bias"


def test_flat_vector_is_a_copy() -> None:
    model = make_model()
    vector = flatten_weights(model)
    before = model.get_parameter("0.weight")[0, 0].item()
    vector[:] = 7
    assert model.get_parameter("0.weight")[0, 0].item() == before


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (np.zeros(14, np.float32), "weights.wrong-length"),
        (np.zeros((1, 15), np.float32), "weights.wrong-length"),
        (np.full(15, np.nan, np.float32), "weights.not-finite"),
        (np.full(15, np.inf, np.float32), "weights.not-finite"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused_and_changes_nothing(
    vector: np.ndarray, code: str
) -> None:
    model = make_model()
    before = flatten_weights(model)
    with pytest.raises(WeightsError) as caught:
        load_flat(model, vector)
    assert caught.value.code == code
    assert np.array_equal(flatten_weights(model), before)


def test_layout_hash_changes_with_shape_and_with_name() -> None:
    hashes = {
        layout_sha256(make_model()),
        layout_sha256(make_model(hidden=4)),
        layout_sha256(nn.ModuleDict({"other": make_model()})),
    }
    assert len(hashes) == 3
    assert layout_sha256(make_model()) in hashes


def test_a_vectors_hash_is_over_its_little_endian_bytes_in_its_own_precision() -> None:
    single = hashlib.sha256(bytes.fromhex("0000803f")).hexdigest()  # 1.0 in four bytes
    double = hashlib.sha256(bytes.fromhex("000000000000f03f")).hexdigest()  # and in eight
    assert [vector_sha256(np.array([1.0], dtype=kind)) for kind in ("<f4", ">f4")] == [single] * 2
    assert [vector_sha256(np.array([1.0], dtype=kind)) for kind in ("<f8", ">f8")] == [double] * 2


def test_a_file_is_read_as_written_and_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([True, False])}
    metadata = {"layout": "x", "recipe": {"seed": 3, "quantities": ["a", "b"]}}
    first = write_weights(tmp_path / "1.safetensors", tensors, metadata)
    second = write_weights(tmp_path / "2.safetensors", dict(reversed(tensors.items())), metadata)
    assert first == second
    found, note = read_weights(tmp_path / "1.safetensors", sha256=first)
    assert note == metadata
    assert set(found) == {"a", "b"}
    assert torch.equal(found["b"], tensors["b"])


def test_files_that_are_missing_changed_or_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError) as missing:
        read_weights(path, sha256=None)
    digest = write_weights(path, {"a": torch.zeros(3)}, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError) as changed:
        read_weights(path, sha256=digest)
    path.write_bytes(b"not a weights file")
    with pytest.raises(WeightsError) as foreign:
        read_weights(path, sha256=None)
    assert missing.value.code == "weights.missing"
    assert changed.value.code == "weights.wrong-hash"
    assert foreign.value.code == "weights.wrong-layout"
