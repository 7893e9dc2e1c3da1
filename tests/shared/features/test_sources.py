"""Sources are named, in order, and each film's columns are that film's alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_patients import CHANNELS, SCHEMA, practice_patients
from practice_settings import changed, refused
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.features.columns import USUAL, clip_columns, make_columns, name_columns
from shared.features.radiomics.table import feature_names
from shared.features.radiomics_block import ALL
from shared.features.sources import FeatureSettings, film_block, measure_films
from shared.stages.learner import table_task
from shared.train.patients import build_patients

READY = ("encoder=none", "fusion=clinical_only", "learner=second_moments")


def features(name: str) -> FeatureSettings:
    return compose_settings([f"features={name}", "learner=second_moments", "fusion=linear"]).features


def test_the_usual_sources_are_those_of_the_linear_head() -> None:
    assert features("usual") == FeatureSettings()
    assert features("usual").layout == USUAL


def test_columns_stand_in_the_order_of_their_sources() -> None:
    layout = features("image_radiomics").layout
    columns = name_columns(SCHEMA.fields, channels=CHANNELS, layout=layout)
    assert [column.source for column in columns] == [
        *["image"] * CHANNELS,
        *["radiomics"] * 16,
        *["clinical"] * 22,
    ]
    assert columns[CHANNELS].name == "radiomics[0]"
    turned = FeatureSettings(sources=tuple(reversed(features("image_radiomics").sources)))
    assert {column.name for column in columns} == {
        column.name for column in name_columns(SCHEMA.fields, channels=CHANNELS, layout=turned.layout)
    }
    assert name_columns(SCHEMA.fields, channels=CHANNELS, layout=turned.layout)[0].name == "age"


def test_a_row_is_the_mean_over_the_films_of_an_exam() -> None:
    settings = features("image_radiomics")
    batch = practice_patients(20, exams=1)
    said = torch.randn(*batch.film_exam.shape, 16) * 0.1
    batch = type(batch)(**{**batch.named_tensors(), "film_columns": said})
    rows = make_columns(
        batch, SCHEMA.fields, is_class=False, channels=CHANNELS, layout=settings.layout
    ).columns[:, CHANNELS : CHANNELS + 16]
    has_film = (batch.film_exam == 0)[..., None]
    expected = (said * has_film).sum(dim=1) / has_film.sum(dim=1).clamp(min=1)
    assert np.allclose(rows, expected, atol=1e-6)


def test_a_patients_row_does_not_change_with_the_company() -> None:
    settings = features("image_radiomics")
    batch = practice_patients(9, seed=3)
    said = torch.randn(*batch.film_exam.shape, 16)
    batch = type(batch)(**{**batch.named_tensors(), "film_columns": said})

    def rows(some: object) -> np.ndarray:
        return make_columns(
            some, SCHEMA.fields, is_class=False, channels=CHANNELS, layout=settings.layout
        ).columns

    together = rows(batch)
    for place in range(9):
        assert rows(batch.select([place])).tobytes() == together[place : place + 1].tobytes()


def test_films_are_measured_one_by_one() -> None:
    films = np.random.default_rng(2).random((3, 24, 24)).astype(np.float16)
    sources = features("radiomics").of_films
    together = measure_films(films, sources)
    assert together.shape == (3, 16)
    assert together[1:2].tobytes() == measure_films(films[1:2], sources).tobytes()
    assert measure_films(films, ()).shape == (3, 0)


def test_the_block_of_a_source_has_a_column_for_each_number_it_measures() -> None:
    for components in (0, 5):
        [source] = features("radiomics").of_films
        block = film_block(source.model_copy(update={"components": components}))
        measured = block.measure(np.random.default_rng(1).random((16, 16)), None)
        assert len(block.columns) == len(measured) == (components or len(feature_names(ALL)))


def test_a_source_is_named_once() -> None:
    with pytest.raises(ValidationError, match="must differ in kind"):
        FeatureSettings(sources=({"kind": "clinical"}, {"kind": "clinical"}))


def test_gradients_read_the_usual_features_only() -> None:
    settings = compose_settings(["features=radiomics", *READY])
    fact = refused(changed(settings, learner={"kind": "gradient"}) | {"learner": {"kind": "gradient"}})
    assert "features must be as usual with learner gradient" in fact


def test_radiomics_read_films_without_an_encoder() -> None:
    assert compose_settings(["features=radiomics", *READY]).reads_films
    assert not compose_settings(READY).reads_films


def test_settings_of_the_usual_features_are_written_as_before() -> None:
    assert "features" not in compose_settings().model_dump(mode="json")
    written = compose_settings(["features=radiomics", *READY]).model_dump(mode="json")
    assert [source["kind"] for source in written["features"]["sources"]] == ["radiomics", "clinical"]


def test_films_without_an_encoder_fill_slots_and_reach_the_learner() -> None:
    settings = compose_settings(["features=radiomics", *READY])
    n_fields = len(settings.cohort.fields)
    films = np.random.default_rng(6).random((3, 24, 24)).astype(np.float16)
    batch = build_patients(
        fields=np.zeros((2, n_fields), dtype=np.float32),
        field_mask=np.ones((2, n_fields), dtype=np.bool_),
        target=np.array([0.1, 0.2]),
        patient_index=np.array([0, 1]),
        exam_films=[(0, 2), (1,)],
        film_order=range(3),
        exam_order=range(2),
        tokens=np.zeros((3, 0, 0), dtype=np.float32),
        film_columns=measure_films(films, settings.features.of_films),
        max_views=2,
        max_exams=1,
    )
    rows = make_columns(
        batch,
        settings.cohort.fields,
        is_class=False,
        channels=0,
        layout=settings.features.layout,
    ).columns
    said = measure_films(films, settings.features.of_films).astype(np.float64)
    columns = table_task(settings, 1.0).columns
    expected = clip_columns(np.stack([(said[0] + said[2]) / 2, said[1]]), columns[:16])
    assert rows[:, :16] == pytest.approx(expected)
    assert rows.shape == (2, len(columns))
