"""Columns of films are computed once per cohort and source; a changed input computes its own."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import practice_plan
import pytest
import torch

from client.cohort import tokens
from client.cohort.explained import hidden_films
from client.cohort.token_cache import delete_tokens
from client.cohort.tokens import film_places, load_activations, load_film_columns, of_films
from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.contract.capacity import capacity_of
from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.features.components import read_spreads
from shared.features.sources import key_of, measure_radiomics
from shared.model import partial
from shared.model.encoders import load_encoder
from shared.model.partial import activate
from shared.signing.canonical import hash_file
from shared.train import film_columns
from shared.train.film_columns import make_measure

READY = ("encoder=none", "fusion=clinical_only", "learner=second_moments")
VIT, VGG = (compose_settings([f"encoder=standin_{name}"]).encoder for name in ("vit", "vgg"))
TINY = compose_settings().encoder
OTHER = {
    "encoder": "standin_vit",
    "name": "standin_vit",
    "sha256": VIT.sha256,
    "token_channels": VIT.token_channels,
    "components": 0,
    "spreads": (),
}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which source each measuring of films was of."""
    names: list[str] = []

    def count(settings: Any, source: Any, file_of: Any) -> Any:
        names.append(key_of(source))
        return make_measure(settings, source, file_of)

    monkeypatch.setattr(film_columns, "make_measure", count)
    return names


def plan_of(*asked: str, **changed: object) -> SimpleNamespace:
    """A plan of these features; of its first source some settings may be changed."""
    settings = compose_settings([*asked, *READY])
    first, *others = settings.features.sources
    sources = (first.model_copy(update=changed), *others)
    features = settings.features.model_copy(update={"sources": sources})
    return SimpleNamespace(settings=settings.model_copy(update={"features": features}))


def radiomics(components: int = 16) -> SimpleNamespace:
    return plan_of("features=radiomics", components=components)


def site_of(folder: Path) -> SimpleNamespace:
    """A site that was sent the shipped encoders."""
    files = {hash_file(path): path for path in CONFIG_WEIGHTS.glob("*.safetensors")}
    return SimpleNamespace(folder=folder, encoder_file=files.__getitem__)


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


def test_a_second_run_measures_no_film(tmp_path: Path, measured: list[str]) -> None:
    site = site_of(tmp_path)
    first, again = (load_film_columns(site, radiomics().settings, cohort()) for _ in range(2))
    assert measured == ["radiomics"]
    assert isinstance(again, np.memmap)
    assert np.array_equal(first, again)
    [source] = radiomics().settings.features.of_films
    assert np.array_equal(again, measure_radiomics(cohort().images, source=source))


def test_a_changed_input_measures_its_own_block_and_no_other(
    tmp_path: Path, measured: list[str]
) -> None:
    site = site_of(tmp_path)
    for _ in range(2):
        load_film_columns(site, radiomics(16).settings, cohort("a"))
        load_film_columns(site, radiomics(16).settings, cohort("b"))  # a new version of the cohort
        load_film_columns(site, radiomics(8).settings, cohort("a"))  # another setting
    assert len(measured) == 3
    delete_tokens(site, cohort("b"))
    load_film_columns(site, radiomics(16).settings, cohort("a"))
    assert len(measured) == 3
    load_film_columns(site, radiomics(16).settings, cohort("b"))
    assert len(measured) == 4


def test_one_changed_source_of_several_measures_its_own_block_and_touches_no_other(
    tmp_path: Path, measured: list[str]
) -> None:
    site, films = site_of(tmp_path), cohort()
    folder = tmp_path / "cache" / "tokens"

    def ages() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    three = plan_of("features=three_encoders")
    began = time.process_time()
    whole = load_film_columns(site, three.settings, films)
    first = time.process_time()
    assert whole.shape == (4, 48)
    assert measured == ["standin_vgg", "standin_inception", "standin_resnet"]
    before, second = ages(), time.process_time()
    again = load_film_columns(site, three.settings, films)
    assert time.process_time() - second < 0.05 * (first - began)
    assert np.array_equal(again, whole)
    assert len(measured) == 3
    # other components of the first, another encoder in its place, another name of the same
    spreads = three.settings.features.sources[0].spreads
    fewer = plan_of("features=three_encoders", components=0, spreads=())
    assert load_film_columns(site, fewer.settings, films).shape == (4, 64 + 32)
    other = plan_of("features=three_encoders", **OTHER)
    assert load_film_columns(site, other.settings, films).shape == (4, 64 + 32)
    renamed = plan_of("features=three_encoders", name="other", spreads=spreads)
    assert np.array_equal(load_film_columns(site, renamed.settings, films), whole)
    assert measured[3:] == ["standin_vgg", "standin_vit"]
    assert {name: age for name, age in ages().items() if name in before} == before
    assert len(ages()) == 5


def test_cells_are_a_block_of_their_own_and_another_grid_touches_no_other(
    tmp_path: Path, measured: list[str]
) -> None:
    site, films = site_of(tmp_path), cohort()
    folder = tmp_path / "cache" / "tokens"

    def bytes_of() -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}

    cells = plan_of("features=cells_encoder_radiomics")
    began = time.process_time()
    whole = load_film_columns(site, cells.settings, films)
    first = time.process_time() - began
    assert whole.shape == (4, 32 + 16 + 16)
    assert measured == ["standin_vgg", "standin_resnet", "radiomics"]
    before, began = bytes_of(), time.process_time()
    again = load_film_columns(site, cells.settings, films)
    assert time.process_time() - began < 0.05 * first
    assert again.tobytes() == whole.tobytes()
    assert len(measured) == 3
    # a coarser grid of the same encoder, and its mean token: a block each, and no other is touched
    spreads = tuple(read_spreads(site.encoder_file(VGG.sha256), 2, grid=2))
    coarse = plan_of("features=cells_encoder_radiomics", token_grid=2, spreads=spreads)
    assert load_film_columns(site, coarse.settings, films).shape == (4, 8 + 16 + 16)
    spreads = tuple(read_spreads(site.encoder_file(VGG.sha256), 2, grid=1))
    mean = plan_of("features=cells_encoder_radiomics", token_grid=1, spreads=spreads)
    assert load_film_columns(site, mean.settings, films).shape == (4, 2 + 16 + 16)
    assert measured[3:] == ["standin_vgg", "standin_vgg"]
    after = bytes_of()
    assert {name: after[name] for name in before} == before
    assert len(after) == 5


def test_the_usual_features_measure_nothing(tmp_path: Path, measured: list[str]) -> None:
    usual = SimpleNamespace(settings=compose_settings())
    assert load_film_columns(site_of(tmp_path), usual.settings, cohort()) is None
    assert not measured


def test_films_that_were_prepared_otherwise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as refused:
        load_film_columns(site_of(tmp_path), radiomics().settings, cohort(preprocessing="old"))
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
    monkeypatch.setattr(tokens, "film_places", lambda *_: 0)
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


@pytest.mark.parametrize("places", [7, 300, 513])
def test_films_are_worked_on_in_as_many_pieces_of_one_size_whoever_is_there(places: int) -> None:
    films = np.random.default_rng(2).random((places, 2, 2)).astype(np.float16)
    shapes: list[tuple[int, ...]] = []

    def mean(some: np.ndarray, rows: slice) -> np.ndarray:
        shapes.append(some.shape)
        assert np.array_equal(some[: rows.stop - rows.start], films[rows])
        return some.mean(axis=(1, 2), keepdims=True)

    for n in (0, 1, 5, places):
        shapes.clear()
        found = of_films(films[:n], mean, places=places)
        size = min(places, 256)
        assert shapes == [(size, 2, 2)] * -(-places // size)
        assert np.array_equal(found, of_films(films[:n], mean)) & (len(found) == n)
    shapes.clear()
    of_films(films[:5], mean)
    assert shapes == [(5, 2, 2)], "nothing is added where no answer is held"


def test_films_have_the_places_of_all_that_patients_of_the_declared_size_have_room_for() -> None:
    settings = compose_settings(["engine=deployed", "federation.reply_quantum_s=60"])
    plan = practice_plan.plan_of(settings, {"aster": 140, "birch": 90})
    everybody = capacity_of(settings.cohort.split, "everybody", declared=140)
    site = SimpleNamespace(name="aster")
    assert everybody > 140
    assert film_places(site, plan) == everybody * plan.settings.caps.max_views
    at_once = practice_plan.plan_of(compose_settings(), {"aster": 140})
    assert film_places(site, at_once) == 0


@pytest.mark.parametrize("what", ["tokens", "activations", "radiomics", "hidden"])
def test_a_first_look_at_films_is_the_same_work_for_nobody_one_and_all(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encoder = VIT if what == "activations" else TINY
    pixels, places = 128, 8
    asked = {
        "tokens": ["encoder=tiny"],
        "hidden": ["encoder=tiny"],
        "activations": ["encoder=standin_vit", "encoder.training=lora", "encoder.trained_blocks=1"],
        "radiomics": ["features=radiomics", *READY],
    }[what]
    plan = SimpleNamespace(settings=compose_settings(asked), encoder_sha256=encoder.sha256)
    monkeypatch.setattr(tokens, "film_places", lambda *_: places)
    pieces = tokens.of_films

    def noted(images: Any, work: Any, *, places: int = 0) -> Any:
        def count(some: Any, rows: Any) -> Any:
            sizes.append(len(some))
            return work(some, rows)

        return pieces(images, count, places=places)

    monkeypatch.setattr(tokens, "of_films", noted)
    for n in (0, 1, places):
        some = cohort()
        some.images = np.random.default_rng(n).random((n, pixels, pixels)).astype(np.float16)
        some.masks = None
        site = site_of(tmp_path / str(n))
        sizes.clear()
        if what == "tokens":
            found = tokens.load_tokens(site, plan, some)
        elif what == "hidden":
            found = tokens.encode_films(site, plan, hidden_films(some, "bone"))
        elif what == "activations":
            found = load_activations(site, plan, some)
        else:
            found = load_film_columns(site, plan.settings, some, places=tokens.film_places())
        assert (len(found), sizes) == (n, [places])
