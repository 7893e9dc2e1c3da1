"""Every film is measured by itself, by radiomics or by mean token or cells of a frozen encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from server.encoders.file import CONFIG_WEIGHTS
from server.encoders.pretrain import draw_films
from server.federation.compose import compose_settings
from shared.contract.settings import Settings
from shared.errors import WeightsError
from shared.features.columns import clip_columns, make_columns
from shared.features.components import project, read_cells, read_components, read_spreads
from shared.features.sources import FeatureSettings
from shared.learners.table import build_learner, settle_learner
from shared.model.encoders import encode, load_encoder
from shared.model.token_constants import shrink_tokens
from shared.signing.canonical import hash_file
from shared.stages.learner import table_task
from shared.train.film_columns import make_measure, measure_films
from shared.train.patients import build_patients

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


def cells_of(grid: int) -> Settings:
    """Cells of a grid of one encoder alone."""
    settings = changed(settings_of("cells_encoder_radiomics"), 0)
    file = FILES[settings.features.sources[0].sha256]
    return changed(settings, 0, token_grid=grid, spreads=read_spreads(file, 2, grid=grid))


@pytest.mark.parametrize("grid", [2, 3, 4])
def test_a_cells_columns_are_components_of_what_it_has_beyond_its_usual_self(grid: int) -> None:
    settings = cells_of(grid)
    [encoder] = settings.encoders
    assert encoder.token_grid == grid
    file = FILES[encoder.sha256]
    films = torch.from_numpy(FILMS.astype(np.float32))[:, None]
    tokens_of = encode(load_encoder(encoder, file), films).numpy().astype(float)
    directions, variances, usual = read_cells(file, 2, grid=grid)
    usual = shrink_tokens(torch.from_numpy(usual)[None], grid)[0].numpy()
    expected = (tokens_of - usual) @ directions * 3.0 / np.sqrt(grid**2 * variances.sum())
    measured = measure_films(FILMS, settings, FILES.__getitem__)
    assert measured.shape == (3, 2 * grid**2)
    assert np.allclose(measured, expected.reshape(3, -1), rtol=1e-4, atol=1e-6)
    for place in range(3):
        alone = measure_films(FILMS[place : place + 1], settings, FILES.__getitem__)
        assert alone.tobytes() == measured[place : place + 1].tobytes()
    assert measure_films(FILMS[:0], settings, FILES.__getitem__).shape == (0, 2 * grid**2)


def test_public_films_that_no_constant_is_of_have_about_the_public_norm() -> None:
    films = draw_films(24, seed=77)[0][:, 0].numpy().astype(np.float32) / 255.0
    for grid in (2, 4):
        measured = measure_films(films, cells_of(grid), FILES.__getitem__).astype(float)
        assert np.sqrt((measured**2).sum(axis=1).mean()) == pytest.approx(3.0, rel=0.25)
        assert np.abs(measured.mean(axis=0)).max() < 1.0, "a cell is about its usual self"


def hostile_films() -> np.ndarray:
    """Films that no hospital has: of one grey, a chequerboard, noise, one pixel, and no numbers."""
    draw, rows = np.random.default_rng(3), np.arange(64)
    board = ((rows[:, None] // 4 + rows // 4) % 2).astype(np.float64)
    point = np.zeros((64, 64))
    point[5, 60] = 1.0
    usual = [np.zeros((64, 64)), np.ones((64, 64)), board, 1 - board, draw.random((64, 64)), point]
    wild = [65_504.0 * board, -65_504.0 * draw.random((64, 64)), np.full((64, 64), np.inf)]
    wild.append(np.where(board > 0, np.nan, 0.5))
    return np.stack([*usual, *wild]).astype(np.float16)


@pytest.mark.parametrize(
    "learner",
    [
        *("lda", "logistic", "linear_svm", "mlp", "nearest_centroid"),
        "second_moments learner.read_as=discriminants",
    ],
)
def test_a_patients_row_is_within_its_public_bound_whatever_the_film_shows(learner: str) -> None:
    chosen = (*f"learner={learner}".split(), "task=bmd_classes", "encoder=none", "fusion=clinical_only")
    composed = compose_settings(["features=cells_encoder_radiomics", *chosen])
    settings = composed.model_copy(update={"features": cells_of(4).features})
    films = hostile_films()
    with np.errstate(invalid="ignore"):
        said = measure_films(films, settings, FILES.__getitem__)
    columns = settings.features.layout.film["standin_vgg"]
    high = np.array([column.high for column in columns])
    n, n_fields = len(films), len(settings.cohort.fields)
    assert (np.abs(said) > high).any(), "no film reaches beyond a public range"
    patients = build_patients(
        fields=np.zeros((n, n_fields), dtype=np.float32),
        field_mask=np.ones((n, n_fields), dtype=np.bool_),
        target=np.arange(n) % 3.0,
        patient_index=np.arange(n),
        exam_films=[(place,) for place in range(n)],
        film_order=range(n),
        exam_order=range(n),
        tokens=np.zeros((n, 0, 0), dtype=np.float32),
        film_columns=said,
        max_views=1,
        max_exams=1,
    )
    layout = settings.features.layout
    rows = make_columns(patients, settings.cohort.fields, is_class=True, channels=0, layout=layout)
    assert np.array_equal(rows.columns, clip_columns(said.astype(float), columns), equal_nan=True)
    task = table_task(settings, 3.0)
    asked = build_learner(settle_learner(settings.learner, task, mu=1.0, training=(40, 30)), task)
    state = asked.start()
    norms = np.linalg.norm(asked.rows(state, rows), axis=1)
    assert np.isfinite(norms).all()
    assert norms.max() > 0
    assert norms.max() <= asked.bound(state) * (1 + 1e-12)


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
