"""Patients with films instead of tokens, and models that train on them, small enough for float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from practice_patients import practice_model, practice_patients, practice_settings
from torch import nn

from shared.model import encoders
from shared.model.architectures import ARCHITECTURES, PublicImage
from shared.model.build import build_model
from shared.model.vision_transformer import DINOV2_S, VisionTransformer
from shared.model.weights import trainable
from shared.train.patients import PatientBatch

KINDS = ("fusion", "lora", "full")
PIXELS = 32
_WIDTH, _DEPTH, _HEADS, _GRID = 48, 2, 3, 4


@contextmanager
def small_dinov2() -> Iterator[None]:
    """DINOv2's own code at depth 2, width 48 and 17 tokens instead of 12, 384 and 257."""
    size = dataclasses.replace(DINOV2_S, width=_WIDTH, depth=_DEPTH, heads=_HEADS, grid=_GRID)
    small = dataclasses.replace(
        ARCHITECTURES["dinov2_s"],
        channels=_WIDTH,
        grid=_GRID,
        make=partial(VisionTransformer, size),
        image=PublicImage(size.pixels),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "dinov2_s", small)
        yield


@dataclass(frozen=True)
class EncoderFile:
    """A packed file of random weights and its SHA-256."""

    path: Path
    sha256: str


def pack_random_dinov2(folder: Path) -> EncoderFile:
    """A file of DINOv2 at its present size."""
    path = folder / "dinov2.safetensors"
    network = encoders.make_encoder("dinov2_s", grid=1).network
    draw = torch.Generator().manual_seed(0)
    state = {
        name: 0.05 * torch.randn(value.shape, generator=draw)
        for name, value in network.state_dict().items()
    }
    films = torch.rand(2, 1, PIXELS, PIXELS, generator=draw)
    return EncoderFile(path, encoders.pack_encoder("dinov2_s", state, films, path, recipe={}))


def film_model(kind: str, file: EncoderFile, *, is_awake: bool = True) -> nn.Module:
    """The fusion head on tokens, DINOv2 with low-rank layers, or the whole ResNet, as ``kind`` says.

    Awake, neither head nor B is zero any more, so that every trainable tensor has a gradient.
    """
    if kind == "fusion":
        return practice_model("cross_attention", is_awake=is_awake)
    settings = practice_settings("cross_attention" if kind == "lora" else "linear")
    changes: dict[str, object] = {
        "name": "dinov2_s" if kind == "lora" else "resnet_gn",
        "training": kind,
        "token_channels": ARCHITECTURES["dinov2_s"].channels if kind == "lora" else 128,
        "sha256": file.sha256 if kind == "lora" else None,
        "weights": str(file.path) if kind == "lora" else None,
    }
    encoder = settings.encoder.model_copy(update=changes)
    settings = settings.model_copy(update={"encoder": encoder})
    model = build_model(settings, 3, file.path if kind == "lora" else None)
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _, weight in trainable(model):
            if is_awake:
                weight += 0.1 * torch.randn(weight.shape, generator=draw)
    return model


def film_patients(kind: str, n: int = 6, *, seed: int = 0, views: int = 3) -> PatientBatch:
    """Patients of 1 or 2 exams with 0 to ``views`` films each: tokens for the fusion, else films."""
    batch = practice_patients(n, seed=seed, exams=2, views=views)
    if kind == "fusion":
        return batch
    draw = torch.Generator().manual_seed(seed + 1)
    films = torch.rand(n, 2 * views, PIXELS, PIXELS, generator=draw)
    return dataclasses.replace(batch, tokens=films)
