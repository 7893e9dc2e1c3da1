"""Sources are named, in order, and each film's columns are that film's alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_patients import CHANNELS, SCHEMA, practice_patients
from practice_settings import changed, refused
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.features.columns import IMAGE_NORM, USUAL, clip_columns, make_columns, name_columns
from shared.features.radiomics.table import feature_names
from shared.features.radiomics_block import ALL
from shared.features.sources import (
    ClinicalSource,
    EncoderSource,
    FeatureSettings,
    ImageSource,
    columns_of,
    measure_radiomics,
)
from shared.learners.table import LEARNERS
from shared.stages.learner import table_task
from shared.train.patients import build_patients

VGG = {
    "encoder": "standin_vgg",
    "name": "vgg",
    "weights": "any",
    "sha256": "a" * 64,
    "token_channels": 64,
}
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
    [source] = features("radiomics").of_films
    together = measure_radiomics(films, source=source)
    assert together.shape == (3, 16)
    assert together[1:2].tobytes() == measure_radiomics(films[1:2], source=source).tobytes()


def test_radiomics_have_a_column_for_each_number_that_is_measured() -> None:
    films = np.random.default_rng(1).random((1, 16, 16))
    for components in (0, 5):
        [source] = features("radiomics").of_films
        chosen = source.model_copy(update={"components": components})
        n_columns = len(columns_of(chosen))
        assert n_columns == measure_radiomics(films, source=chosen).shape[1]
        assert n_columns == (components or len(feature_names(ALL)))


def test_an_encoders_columns_bear_its_name_and_reach_four_spreads() -> None:
    columns = columns_of(EncoderSource(**VGG, components=2, spreads=(1.5, 0.5)))
    assert [column.name for column in columns] == ["vgg[0]", "vgg[1]"]
    assert [(column.low, column.high) for column in columns] == [(-6.0, 6.0), (-2.0, 2.0)]
    whole = columns_of(EncoderSource(**VGG, components=0))
    assert len(whole) == 64
    assert sum(column.spread**2 for column in whole) == pytest.approx(IMAGE_NORM**2)


def test_cells_are_columns_by_row_column_and_component_at_one_public_norm() -> None:
    spreads = (1.2, 0.9)  # of a block of four cells: 4 · (1.2² + .9²) = 9
    source = EncoderSource(**VGG, token_grid=2, components=2, spreads=spreads)
    columns = columns_of(source)
    assert [column.name for column in columns][:4] == [
        *("vgg.cell_0_0[0]", "vgg.cell_0_0[1]", "vgg.cell_0_1[0]", "vgg.cell_0_1[1]"),
    ]
    assert columns[-1].name == "vgg.cell_1_1[1]"
    assert [column.high for column in columns] == pytest.approx([4.8, 3.6] * 4)
    assert {column.source for column in columns} == {"vgg"}
    assert sum(column.spread**2 for column in columns) == pytest.approx(IMAGE_NORM**2)
    own = columns_of(ImageSource(token_grid=2, components=2, spreads=spreads))
    assert [column.name for column in own][2] == "image.cell_0_1[0]"


def test_cells_have_components_and_a_mean_token_is_written_as_before_there_were_cells() -> None:
    with pytest.raises(ValidationError, match="must be 1 to 32 of each cell where token_grid is 4"):
        EncoderSource(**VGG, token_grid=4, components=0)
    with pytest.raises(ValidationError, match="spreads must be 2 numbers"):
        EncoderSource(**VGG, token_grid=4, components=2, spreads=(1.0,) * 32)
    with pytest.raises(ValidationError, match="less than or equal to 16"):
        EncoderSource(**VGG, token_grid=17, components=1, spreads=(1.0,))
    for made in (
        EncoderSource(**VGG, components=1, spreads=(3.0,)),
        ImageSource(components=1, spreads=(3.0,)),
    ):
        assert "token_grid" not in made.model_dump(mode="json")
        cells = made.model_copy(update={"token_grid": 4})
        assert type(cells).model_validate(cells.model_dump(mode="json")) == cells


def test_components_of_the_runs_own_encoder_take_the_place_of_its_token() -> None:
    settings = FeatureSettings(
        sources=(ImageSource(components=2, spreads=(2.0, 1.0)), ClinicalSource())
    )
    columns = name_columns(SCHEMA.fields, channels=CHANNELS, layout=settings.layout)
    assert [column.name for column in columns][:3] == ["image[0]", "image[1]", "age"]
    assert [column.spread for column in columns][:2] == [2.0, 1.0]
    batch = practice_patients(5, exams=1)
    said = torch.full((*batch.film_exam.shape, 2), 0.5)
    batch = type(batch)(**{**batch.named_tensors(), "film_columns": said})
    rows = make_columns(
        batch, SCHEMA.fields, is_class=False, channels=CHANNELS, layout=settings.layout
    ).columns
    assert rows.shape[1] == len(columns)
    has_film = (batch.film_exam == 0).any(dim=1).numpy()
    assert np.array_equal(rows[:, 0], 0.5 * has_film)


def test_a_source_is_named_once_and_spreads_are_as_many_as_components() -> None:
    with pytest.raises(ValidationError, match="must differ in name"):
        FeatureSettings(sources=({"kind": "clinical"}, {"kind": "clinical"}))
    vgg = {**VGG, "components": 0}
    with pytest.raises(ValidationError, match="must differ in name"):
        FeatureSettings(sources=(EncoderSource(**vgg), EncoderSource(**vgg)))
    FeatureSettings(sources=(EncoderSource(**vgg), EncoderSource(**{**vgg, "name": "other"})))
    with pytest.raises(ValidationError, match="spreads must be 3 numbers"):
        EncoderSource(**VGG, components=3, spreads=(1.0,))
    with pytest.raises(ValidationError, match="spreads must be 1 numbers"):
        ImageSource(components=1)
    with pytest.raises(ValidationError, match="name must not be one of"):
        EncoderSource(**{**vgg, "name": "clinical"})


def test_an_image_without_components_is_written_as_before() -> None:
    assert ImageSource().model_dump() == {"kind": "image"}
    asked = ImageSource(components=1, spreads=(3.0,))
    assert ImageSource.model_validate(asked.model_dump()) == asked


def test_gradients_read_the_usual_features_only() -> None:
    settings = compose_settings(["features=radiomics", *READY])
    fact = refused(changed(settings, learner={"kind": "gradient"}) | {"learner": {"kind": "gradient"}})
    assert "features must be as usual with learner gradient" in fact
    assert f"others are read by learners of tables: {', '.join(LEARNERS)}" in fact


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
        film_columns=measure_radiomics(films, source=settings.features.of_films[0]),
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
    said = measure_radiomics(films, source=settings.features.of_films[0]).astype(np.float64)
    columns = table_task(settings, 1.0).columns
    expected = clip_columns(np.stack([(said[0] + said[2]) / 2, said[1]]), columns[:16])
    assert rows[:, :16] == pytest.approx(expected)
    assert rows.shape == (2, len(columns))
