"""Trainable weights as one flat vector, and weights files with their hash.

A model's trainable tensors in the order of ``named_parameters`` are one float32 vector [p]: the
only form that travels, is clipped, noised, averaged, hashed and stored. Files are safetensors (no
code in them), read only when their SHA-256 is the expected one. Imports errors, canonical, files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from shared.errors import WeightsError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, hash_of, sha256_hex

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
_METADATA_KEY = "osteofed"


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Named trainable tensors in their fixed order."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def layout(model: nn.Module) -> list[tuple[str, list[int]]]:
    """Name and shape of each trainable tensor, in the vector's order."""
    return [(name, list(weight.shape)) for name, weight in trainable(model)]


def layout_sha256(model: nn.Module) -> str:
    """Hash of the layout: two vectors may be added only when it is equal."""
    return hash_of([[name, shape] for name, shape in layout(model)])


def flatten_weights(model: nn.Module) -> Vector:
    """Trainable weights as one float32 vector [p] (a copy)."""
    pieces = [weight.detach().reshape(-1) for _, weight in trainable(model)]
    vector: Vector = torch.cat(pieces).to("cpu", torch.float32).numpy().copy()
    return vector


def check_length(model: nn.Module, vector: np.ndarray[tuple[int], np.dtype[np.floating]]) -> None:
    """Refuse a vector that is not one number for each of the model's trainable weights.

    Raises:
        WeightsError: another length.
    """
    n_weights = sum(weight.numel() for _, weight in trainable(model))
    if vector.shape != (n_weights,):
        raise WeightsError(
            "wrong-length",
            f"the weights vector must have shape ({n_weights},), not {vector.shape}",
            hint="the sender built another model; compare the layout hashes of the two plans",
        )


def load_flat(model: nn.Module, vector: np.ndarray[tuple[int], np.dtype[np.floating]]) -> None:
    """Write a vector [p] into the model's trainable weights.

    Raises:
        WeightsError: another length, or a value that is not finite.
    """
    check_length(model, vector)
    if not np.isfinite(vector).all():
        raise WeightsError("not-finite", "the weights vector holds NaN or infinite values")
    start = 0
    with torch.no_grad():
        for _, weight in trainable(model):
            piece = torch.tensor(vector[start : start + weight.numel()])
            weight.copy_(piece.reshape(weight.shape))
            start += weight.numel()


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    """Write a safetensors file and return its SHA-256; equal content gives equal bytes.

    ``metadata`` (JSON values) is stored under one key, because safetensors does not order its keys.
    """
    ready = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    note = {_METADATA_KEY: canonical_json(dict(metadata)).decode()}
    data = save_tensors(ready, metadata=note)
    write_atomic(path, data)
    return sha256_hex(data)


def read_weights(path: Path, *, sha256: str | None) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and metadata of a safetensors file.

    Args:
        path: the file; read once, so that what is hashed is what is loaded.
        sha256: expected hash; None only where a person chose the file on this machine.

    Raises:
        WeightsError: the file is missing, has another hash, or is not safetensors.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise WeightsError(
            "missing",
            f"there is no readable weights file {path.name}",
            hint="make it with `osteofed-coordinator pretrain`, or name a file in encoder.weights",
        ) from None
    found = sha256_hex(data)
    if sha256 is not None and found != sha256:
        raise WeightsError(
            "wrong-hash",
            f"{path.name} has SHA-256 {found}, not {sha256}",
            hint="fetch the file again; if it was changed on purpose, write a new plan",
        )
    try:
        tensors: dict[str, Tensor] = load_tensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        note = header.get("__metadata__", {}).get(_METADATA_KEY, "{}")
        metadata: dict[str, object] = json.loads(note)
    except Exception as error:  # noqa: BLE001 - safetensors raises its own class, not importable by name
        raise WeightsError(
            "wrong-layout",
            f"{path.name} is not a safetensors file: {type(error).__name__}",
            hint="name one that is; torch's state dict becomes one by safetensors.torch.save_file",
        ) from None
    return tensors, metadata
