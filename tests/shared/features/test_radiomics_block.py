"""A film's block: public constants, a public norm, components that keep their shares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from server.synthetic.physics import draw_public_film
from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.features.columns import IMAGE_NORM, REACH_SD
from shared.features.components import MOST_COMPONENTS
from shared.features.radiomics.table import RADIOMICS_VERSION, feature_names
from shared.features.radiomics_block import (
    ALL,
    FILE,
    LEVELS,
    PublicConstants,
    block_columns,
    is_shape,
    measure_block,
    measure_film,
    project,
    read_constants,
    standardise_features,
)
from shared.signing.canonical import hash_file

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "features"
N_FEATURES = len(feature_names(ALL))
RNG = np.random.default_rng(8)
CONSTANTS = PublicConstants(
    mean=np.array([1.0, -2.0, 5.0]),
    sd=np.array([2.0, 1.0, 0.0]),
    directions=np.array([[0.6, -0.8], [0.8, 0.6], [0.0, 0.0]]),
    variances=np.array([1.5, 0.5]),
)


NAMED = {
    path.stem: source["sha256"]
    for path in CONFIGS.glob("*.yaml")
    for source in yaml.safe_load(path.read_text())["sources"]
    if source["kind"] == "radiomics"
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_shipped_constants_are_those_that_the_settings_name(name: str) -> None:
    assert NAMED[name] == hash_file(FILE)
    assert read_constants(NAMED[name]).directions.shape == (N_FEATURES, MOST_COMPONENTS)


def test_every_shipped_setting_with_radiomics_is_looked_at() -> None:
    assert {"radiomics", "image_radiomics", "radiomics_encoder"} <= set(NAMED)


def test_shipped_directions_are_orthogonal_and_fall_in_variance() -> None:
    found = read_constants(hash_file(FILE))
    assert np.allclose(found.directions.T @ found.directions, np.eye(MOST_COMPONENTS), atol=1e-9)
    assert (np.diff(found.variances) <= 0).all()


@pytest.mark.parametrize("components", [0, 16])
def test_a_block_of_films_not_seen_before_has_the_public_norm(components: int) -> None:
    from server.encoders.prepared import hip_schema, see_film
    from server.synthetic.look import FilmLook

    rng, constants = np.random.default_rng(77), read_constants(hash_file(FILE))
    films = [
        see_film(draw_public_film(rng, is_usual=True), FilmLook(), hip_schema().views[0], 128, rng)
        for _ in range(12)
    ]
    norms = [np.square(measure_block(film, constants, components=components)).sum() for film in films]
    assert 0.4 * IMAGE_NORM**2 < np.mean(norms) < 2.5 * IMAGE_NORM**2


def test_components_by_hand_are_not_whitened() -> None:
    film = project(np.array([3.0, -1.0, 9.0]), CONSTANTS, components=2)
    factor = IMAGE_NORM / 2.0**0.5
    assert film == pytest.approx(np.array([0.6 + 0.8, -0.8 + 0.6]) * factor)
    spreads = [column.spread for column in block_columns(CONSTANTS, components=2)]
    assert spreads == pytest.approx([1.5**0.5 * factor, 0.5**0.5 * factor])


def test_a_feature_without_public_spread_says_nothing_and_none_goes_beyond_its_reach() -> None:
    standard = standardise_features(np.array([1e9, -2.0, 1e9]), CONSTANTS)
    assert standard.tolist() == [REACH_SD, 0.0, 0.0]


def test_features_themselves_are_columns_by_name() -> None:
    constants = read_constants(hash_file(FILE))
    columns = block_columns(constants, components=0)
    assert columns[0].name == "radiomics.first_order.mean"
    assert [column.spread for column in columns] == pytest.approx(
        [IMAGE_NORM / N_FEATURES**0.5] * N_FEATURES
    )
    film = RNG.random((20, 20))
    shown = measure_block(film, constants, components=0)
    assert (np.abs(shown) <= [column.high for column in columns]).all()
    assert len(measure_film(film)) == N_FEATURES


def test_other_constants_than_the_plans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as refused:
        read_constants("0" * 64)
    assert refused.value.code == "weights.wrong-hash"
    copy = tmp_path / "public.json"
    tensors = json.loads(FILE.read_bytes())["tensors"]
    own = {
        "features": list(feature_names(ALL)),
        "version": RADIOMICS_VERSION,
        "levels": LEVELS,
        "preprocessing": PREPROCESSING_VERSION,
    }
    for other in (
        {"features": ["first_order.mean"]},
        {"version": RADIOMICS_VERSION - 1},
        {"levels": LEVELS // 2},
        {"preprocessing": "whole-film-0"},
    ):
        copy.write_text(json.dumps({"about": own | other, "tensors": tensors}))
        with pytest.raises(WeightsError) as refused:
            read_constants(hash_file(copy), copy)
        assert refused.value.code == "weights.wrong-layout"
    copy.write_text(json.dumps({"about": own, "tensors": tensors}))
    assert read_constants(hash_file(copy), copy).mean.shape == (N_FEATURES,)


def test_within_a_mask_nothing_outside_of_it_counts_and_its_shape_does() -> None:
    constants = read_constants(hash_file(FILE))
    film = RNG.random((48, 48))
    y, x = np.ogrid[:48, :48]
    disc, bar = np.hypot(y - 24, x - 24) < 15, np.abs(y - 24) < 6
    changed = np.where(disc, film, RNG.random((48, 48)))
    one, other = (measure_block(each, constants, components=0, mask=disc) for each in (film, changed))
    assert one.tobytes() == other.tobytes()
    assert not np.array_equal(one, measure_block(film, constants, components=0))
    long = measure_block(film, constants, components=0, mask=np.broadcast_to(bar, (48, 48)))
    assert (one[is_shape()] != long[is_shape()]).any()


def test_a_whole_film_has_no_shape_and_components_hold_none() -> None:
    constants = read_constants(hash_file(FILE))
    whole = measure_block(RNG.random((48, 48)), constants, components=0)
    assert not whole[is_shape()].any()
    assert (constants.sd[is_shape()] > 0).all()
    assert np.allclose(constants.directions[is_shape()], 0.0, atol=1e-12)
