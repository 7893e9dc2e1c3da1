"""The encoder that a run trained becomes an encoder file that repeats what the run's model sees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from server.encoders.file import CONFIG_WEIGHTS
from server.encoders.pack_release import pack_release
from server.federation.compose import compose_settings
from shared.contract.model_settings import EncoderSettings
from shared.contract.settings import Settings
from shared.errors import RunError
from shared.features.components import read_components
from shared.model.build import build_model
from shared.model.encoders import load_encoder
from shared.model.weights import flatten_weights, load_flat, read_weights

VIT = CONFIG_WEIGHTS / "standin_vit.safetensors"
LEARN = {
    "lora": ("encoder=standin_vit", "encoder.training=lora"),
    "up": ("encoder=standin_vit", "encoder.training=lora", "encoder.lora_trains=up"),
    "blocks": ("encoder=standin_vit", "encoder.training=blocks", "encoder.trained_blocks=1"),
    "full": ("encoder=resnet_gn",),
}


def release_of(settings: Settings, weights: np.ndarray) -> Any:
    plan = SimpleNamespace(
        run="first",
        settings=settings,
        training=object(),
        predicted=SimpleNamespace(training_epsilon=2.0),
    )
    file = VIT if settings.encoder.name == "standin_vit" else None
    return SimpleNamespace(plan=plan, weights=weights, encoder_file=file, sha256="a" * 64)


@pytest.mark.parametrize("learnt", LEARN)
def test_a_packed_encoder_maps_films_as_the_released_model_does(
    learnt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.encoders.pack_release.PUBLIC_FILMS", 12)
    settings = compose_settings([*LEARN[learnt], "fusion=linear"])
    release = release_of(settings, np.zeros(0))
    model = build_model(settings, settings.seed, release.encoder_file)
    start = flatten_weights(model)
    moved = start + np.random.default_rng(3).normal(0, 0.02, start.size).astype(np.float32)
    release.weights = moved
    load_flat(model, moved)
    packed = tmp_path / "packed.safetensors"
    sha256 = pack_release(release, packed)
    named = settings.encoder.model_dump() | {"training": "frozen", "sha256": sha256}
    named |= {"trained_blocks": 0, "lora_trains": "both", "weights": str(packed)}
    encoder = load_encoder(EncoderSettings.model_validate(named), packed)
    film = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        released, repeated = model.encoder.map_films(film), encoder.map_films(film)
        load_flat(model, start)
        before = model.encoder.map_films(film)
    torch.testing.assert_close(repeated, released, atol=1e-4, rtol=1e-4)
    assert (released - before).abs().max() > 1e-3
    assert read_components(packed, 4)[0].shape == (settings.encoder.token_channels, 4)
    recipe = read_weights(packed, sha256=sha256)[1]["recipe"]
    assert isinstance(recipe, dict)
    assert (recipe["run"], recipe["release_sha256"], recipe["epsilon"]) == ("first", "a" * 64, 2.0)


def test_a_run_whose_encoder_stayed_as_it_was_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="must be lora, blocks or full, not frozen") as refused:
        pack_release(release_of(compose_settings(), np.zeros(3)), tmp_path / "packed")
    assert refused.value.code == "run.no-trained-encoder"
    assert not (tmp_path / "packed").exists()
