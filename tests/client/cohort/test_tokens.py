"""Columns of films are computed once per cohort and source; a changed input computes its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import client.cohort.tokens as tokens
from client.cohort.token_cache import delete_tokens
from client.cohort.tokens import load_activations, load_film_columns
from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.features.sources import FeatureSettings, measure_films
from shared.model import partial
from shared.model.encoders import load_encoder
from shared.model.partial import activate

READY = ("encoder=none", "fusion=clinical_only", "learner=second_moments")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many films each measuring looked at."""
    counts: list[int] = []

    def count(films: Any, sources: Any, masks: Any) -> Any:
        counts.append(len(films))
        return measure_films(films, sources, masks)

    monkeypatch.setattr(tokens, "measure_films", count)
    return counts


def radiomics(components: int = 16) -> FeatureSettings:
    shipped = compose_settings(["features=radiomics", *READY]).features
    first, *others = shipped.sources
    return FeatureSettings(sources=(first.model_copy(update={"components": components}), *others))


def cohort(letter: str = "a", preprocessing: str = PREPROCESSING_VERSION) -> SimpleNamespace:
    films = np.random.default_rng(ord(letter)).random((4, 16, 16)).astype(np.float16)
    return SimpleNamespace(
        fingerprint=letter * 64,
        images=films,
        preprocessing=preprocessing,
        name="hips",
        version=1,
        masks=None,
    )


def test_a_second_run_measures_no_film(tmp_path: Path, measured: list[int]) -> None:
    site = SimpleNamespace(folder=tmp_path)
    first, again = (load_film_columns(site, cohort(), radiomics()) for _ in range(2))
    assert measured == [4]
    assert isinstance(again, np.memmap)
    assert np.array_equal(first, again)
    assert np.array_equal(again, measure_films(cohort().images, radiomics().of_films))


def test_a_changed_input_measures_its_own_block_and_no_other(
    tmp_path: Path, measured: list[int]
) -> None:
    site = SimpleNamespace(folder=tmp_path)
    for _ in range(2):
        load_film_columns(site, cohort("a"), radiomics(16))
        load_film_columns(site, cohort("b"), radiomics(16))  # a new version of the cohort
        load_film_columns(site, cohort("a"), radiomics(8))  # another setting
    assert measured == [4, 4, 4]
    delete_tokens(site, cohort("b"))
    load_film_columns(site, cohort("a"), radiomics(16))
    assert len(measured) == 3
    load_film_columns(site, cohort("b"), radiomics(16))
    assert len(measured) == 4


def test_the_usual_features_measure_nothing(tmp_path: Path, measured: list[int]) -> None:
    assert load_film_columns(SimpleNamespace(folder=tmp_path), cohort(), FeatureSettings()) is None
    assert not measured


def test_films_that_were_prepared_otherwise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as refused:
        load_film_columns(SimpleNamespace(folder=tmp_path), cohort(preprocessing="old"), radiomics())
    assert refused.value.code == "weights.other-preprocessing"


def test_what_frozen_blocks_make_of_films_is_computed_once_per_number_of_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = np.random.default_rng(1).random((3, 128, 128)).astype(np.float16)
    some = cohort()
    some.images = films
    site = SimpleNamespace(
        folder=tmp_path, encoder_file=lambda _: CONFIG_WEIGHTS / "standin_vit.safetensors"
    )
    made: list[int] = []

    def count(encoder: Any, films: Any, *, blocks: int) -> Any:
        made.append(blocks)
        return activate(encoder, films, blocks=blocks)

    monkeypatch.setattr(partial, "activate", count)
    for trained in (1, 1, 2):
        asked = ("encoder=standin_vit", "encoder.training=lora", f"encoder.trained_blocks={trained}")
        settings = compose_settings(["fusion=linear", *asked])
        plan = SimpleNamespace(settings=settings, encoder_sha256=settings.encoder.sha256)
        found = load_activations(site, plan, some)
        assert found.shape == (3, 65, 64)
        encoder = load_encoder(settings.encoder, site.encoder_file(None))
        expected = activate(encoder, torch.from_numpy(films).float()[:, None], blocks=3 - trained)
        assert torch.equal(found, expected)
    assert made == [2, 1]
    delete_tokens(site, some)
    assert not list((tmp_path / "cache" / "tokens").iterdir())
