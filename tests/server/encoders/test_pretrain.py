"""Pretraining is public, reproducible, and never meets BMD."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch
import yaml

from server.encoders.pretrain import (
    BATCH,
    LESSONS,
    PIXELS,
    QUANTITIES,
    SUBJECTS,
    Lesson,
    draw_films,
    fit_network,
    pretrain,
)
from server.encoders.public_vertebrae import draw_vertebrae
from server.synthetic import physics
from shared.contract.model_settings import EncoderSettings
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.model.encoders import encode, load_encoder
from shared.model.weights import read_weights

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "encoder"


def shipped(name: str = "tiny") -> tuple[Path, EncoderSettings]:
    settings = EncoderSettings.model_validate(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
    return CONFIGS / str(settings.weights), settings


def test_supervision_is_physical_and_a_public_film_has_no_bmd() -> None:
    assert QUANTITIES == ("cortical_mm", "trabecular_share", "texture_exponent")
    names = {field.name for field in dataclasses.fields(physics.Film)}
    names |= {field.name for field in dataclasses.fields(physics.HipAnatomy)}
    assert not [name for name in names if "bmd" in name.lower() or "score" in name]
    assert "population" not in inspect.getsource(inspect.getmodule(draw_films))  # type: ignore[arg-type]


def test_public_films_repeat_for_a_seed_and_targets_are_standard() -> None:
    films, quantities = draw_films(30, seed=3)
    again, _ = draw_films(30, seed=3)
    other, _ = draw_films(30, seed=4)
    assert torch.equal(films, again)
    assert not torch.equal(films, other)
    torch.testing.assert_close(quantities.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(quantities.std(dim=0), torch.ones(3))


def test_a_network_learns_its_quantities() -> None:
    # Films that are uniformly as bright as their first quantity: learnt within a few steps.
    level = torch.linspace(0, 1, 2 * BATCH)
    shape = (torch.linspace(0, 1, 64)[None, :] < level[:, None]).to(torch.uint8) * 255
    films = shape[:, None, None, :].expand(-1, 1, 64, 64).contiguous()
    quantities = ((level - level.mean()) / level.std())[:, None]
    once, often = Lesson(len(films), 1), Lesson(len(films), 12)
    _, before = fit_network("tiny", films, quantities, seed=1, lesson=once)
    _, after = fit_network("tiny", films, quantities, seed=1, lesson=often)
    assert after < 0.3 * before


def test_pretraining_writes_a_file_with_its_recipe_that_loads(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    path = tmp_path / "tiny.safetensors"
    digest = pretrain(
        path,
        seed=5,
        n_films=100,
        epochs=1,
        progress=lambda what, done, of: heard.append((what, done, of)),
    )
    settings = EncoderSettings(name="tiny", sha256=digest, token_channels=48, token_grid=4)
    load_encoder(settings, path)
    _, metadata = read_weights(path, sha256=digest)
    recipe = metadata["recipe"]
    assert isinstance(recipe, dict)
    assert recipe["supervision"] == list(QUANTITIES)
    assert recipe["preprocessing"] == PREPROCESSING_VERSION
    assert (recipe["films"], recipe["seed"], recipe["epochs"]) == (100, 5, 1)
    assert [step[1:] for step in heard] == [(100, 100), (1, 1)]


def test_token_constants_are_those_of_films_as_the_encoder_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    digest = pretrain(path, seed=5, n_films=100, epochs=1)
    settings = EncoderSettings(name="tiny", sha256=digest, token_channels=48, token_grid=4)
    films, _ = draw_films(100, seed=5)
    pooled = encode(load_encoder(settings, path), films.float() / 255).mean(dim=1)
    torch.testing.assert_close(pooled.mean(dim=0), torch.zeros(48), atol=1e-3, rtol=0)
    torch.testing.assert_close(pooled.std(dim=0), torch.full((48,), 3 / 48**0.5), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", LESSONS)
def test_a_shipped_encoder_is_small_hashed_and_made_by_its_recipe(name: str) -> None:
    path, settings = shipped(name)
    assert path.stat().st_size <= 1_000_000
    load_encoder(settings, path)
    _, metadata = read_weights(path, sha256=settings.sha256)
    recipe = metadata["recipe"]
    assert isinstance(recipe, dict)
    lesson = LESSONS[name]
    assert recipe["supervision"] == list(SUBJECTS[lesson.subject][0])
    assert recipe["preprocessing"] == PREPROCESSING_VERSION
    found = (recipe["films"], recipe["epochs"], recipe["learning_rate"])
    assert found == (lesson.n_films, lesson.epochs, lesson.learning_rate)


@pytest.mark.parametrize("name", [name for name in LESSONS if LESSONS[name].subject == "hips"])
def test_a_shipped_encoder_reads_physics_from_films_it_never_saw(
    name: str, unseen: tuple[torch.Tensor, torch.Tensor]
) -> None:
    path, settings = shipped(name)
    films, quantities = unseen
    pooled = encode(load_encoder(settings, path), films.float() / 255.0).mean(dim=1)  # [n,c]
    # the first 16 components of each: 160 films would fit any wide token
    _, _, components = torch.linalg.svd(pooled - pooled.mean(dim=0), full_matrices=False)
    columns = pooled @ components[:16].T
    design = torch.cat([columns, torch.ones(len(pooled), 1)], dim=1)
    fitted = torch.linalg.lstsq(design[:160], quantities[:160]).solution
    errors = (design[160:] @ fitted - quantities[160:]).square().mean(dim=0)
    # an encoder that sees nothing has 1; the texture's exponent is not read through pixels of any size
    assert errors[:2].max() < (0.35 if name == "tiny" else 0.5)


def test_the_encoder_of_vertebrae_reads_heights_that_one_of_hips_reads_worse() -> None:
    crops, heights = draw_vertebrae(180, seed=987_654, pixels=PIXELS)
    errors = {}
    for name in ("standin_resnet_spine", "standin_resnet"):
        path, settings = shipped(name)
        pooled = encode(load_encoder(settings, path), crops.float() / 255.0).mean(dim=1)  # [n,c]
        _, _, components = torch.linalg.svd(pooled - pooled.mean(dim=0), full_matrices=False)
        design = torch.cat([pooled @ components[:16].T, torch.ones(len(pooled), 1)], dim=1)
        fitted = torch.linalg.lstsq(design[:120], heights[:120]).solution
        errors[name] = float((design[120:] @ fitted - heights[120:]).square().mean())
    assert errors["standin_resnet_spine"] < 0.5, "1 is to see nothing"
    assert errors["standin_resnet_spine"] < errors["standin_resnet"]


@pytest.fixture(scope="module")
def unseen() -> tuple[torch.Tensor, torch.Tensor]:
    return draw_films(240, seed=987_654)
