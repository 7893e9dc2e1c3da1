"""Every film is measured by itself, by radiomics or by the mean token of a frozen encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.contract.settings import Settings
from shared.errors import WeightsError
from shared.features.components import project, read_components
from shared.features.sources import FeatureSettings
from shared.model.encoders import encode, load_encoder
from shared.signing.canonical import hash_file
from shared.train.film_columns import make_measure, measure_films

READY = ("encoder=none", "fusion=clinical_only", "learner=second_moments")
FILMS = np.random.default_rng(8).random((3, 32, 32)).astype(np.float16)
FILES = {hash_file(path): path for path in CONFIG_WEIGHTS.glob("*.safetensors")}


def settings_of(features: str) -> Settings:
    return compose_settings([f"features={features}", *READY])


def changed(settings: Settings, place: int, **values: object) -> Settings:
    """Settings of one source alone, changed."""
    source = settings.features.sources[place].model_copy(update=values)
    return settings.model_copy(update={"features": FeatureSettings(sources=(source,))})


def tokens(settings: Settings) -> np.ndarray:
    """Mean tokens as an encoder gives them on a grid of one cell."""
    [encoder] = settings.encoders
    films = torch.from_numpy(FILMS.astype(np.float32))[:, None]
    return encode(load_encoder(encoder, FILES[encoder.sha256]), films)[:, 0].numpy()


def test_sources_stand_beside_each_other_in_order() -> None:
    settings = settings_of("radiomics_encoder")
    measured = measure_films(FILMS, settings, FILES.__getitem__)
    radiomics, encoder = settings.features.of_films
    parts = [
        make_measure(settings, each, FILES.__getitem__)(FILMS, None) for each in (radiomics, encoder)
    ]
    assert measured.shape == (3, 32)
    assert np.array_equal(measured, np.concatenate(parts, axis=1))
    assert measure_films(FILMS, compose_settings(), FILES.__getitem__).shape == (3, 0)


def test_an_encoders_columns_are_its_public_components() -> None:
    settings = changed(settings_of("three_encoders"), 0)
    [source] = settings.features.sources
    directions, variances = read_components(FILES[source.sha256], 16)
    expected = [project(token, directions, variances) for token in tokens(settings).astype(float)]
    measured = measure_films(FILMS, settings, FILES.__getitem__)
    assert np.array_equal(measured, np.stack(expected).astype(np.float32))


def test_without_components_they_are_the_token_itself() -> None:
    settings = changed(settings_of("three_encoders"), 0, components=0, spreads=())
    measured = measure_films(FILMS, settings, FILES.__getitem__)
    assert measured.shape == (3, 64)
    assert np.array_equal(measured, tokens(settings))


def test_a_films_columns_are_its_own_bit_for_bit() -> None:
    settings = settings_of("three_encoders")
    together = measure_films(FILMS, settings, FILES.__getitem__)
    for place in range(3):
        alone = measure_films(FILMS[place : place + 1], settings, FILES.__getitem__)
        assert alone.tobytes() == together[place : place + 1].tobytes()
    nobody = measure_films(FILMS[:0], settings, FILES.__getitem__)
    assert nobody.shape == (0, 48)


def test_spreads_that_are_not_the_files_are_refused(tmp_path: Path) -> None:
    settings = settings_of("three_encoders")
    spreads = settings.features.sources[0].spreads
    wrong = changed(settings, 0, spreads=(2 * spreads[0], *spreads[1:]))
    with pytest.raises(WeightsError) as refused:
        measure_films(FILMS, wrong, FILES.__getitem__)
    assert refused.value.code == "weights.other-components"
    other = changed(settings, 0, sha256="0" * 64)
    with pytest.raises(WeightsError) as refused:
        measure_films(FILMS, other, lambda _: CONFIG_WEIGHTS / "standin_vgg.safetensors")
    assert refused.value.code == "weights.wrong-hash"
