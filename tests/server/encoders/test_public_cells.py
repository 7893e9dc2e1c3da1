"""Constants of cells join an encoder's file, whose other tensors stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from server.encoders import pack_weights, public_cells
from server.encoders.file import CONFIG_WEIGHTS
from server.encoders.pretrain import pretrain
from server.encoders.public_cells import add_cells, constants_missing, films_of_recipe
from shared.errors import WeightsError
from shared.features.components import CELL_TENSORS, TENSORS
from shared.model.weights import read_weights, write_weights

DRAWN = "standin_resnet_drawn"  # of pictures, which are drawn quickly


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as it is written today."""
    path = tmp_path_factory.mktemp("cells") / "whole.safetensors"
    pretrain(path, seed=5, encoder=DRAWN, n_films=50)
    return path


def written(
    path: Path, out: Path, *, lacks: tuple[str, ...] = CELL_TENSORS, recipe: object = None
) -> Path:
    """The same file as it was before there were these, with another recipe if one is given."""
    tensors, metadata = read_weights(path, sha256=None)
    older = {name: value for name, value in tensors.items() if name not in lacks}
    write_weights(out, older, metadata if recipe is None else metadata | {"recipe": recipe})
    return out


@pytest.mark.parametrize("lacks", [CELL_TENSORS, (*TENSORS, *CELL_TENSORS), ()])
def test_an_older_file_becomes_byte_for_byte_the_one_that_is_written_today(
    lacks: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    older = written(whole, tmp_path / "older.safetensors", lacks=lacks)
    names = [set(read_weights(path, sha256=None)[0]) for path in (whole, older)]
    assert names[0] - names[1] == set(lacks) == set(constants_missing(older))
    add_cells(older, older, films_of_recipe(older))
    assert older.read_bytes() == whole.read_bytes()


def test_components_that_a_file_holds_stay_as_they_are(whole: Path, tmp_path: Path) -> None:
    older = written(whole, tmp_path / "older.safetensors")
    tensors, metadata = read_weights(older, sha256=None)
    others = tensors | {TENSORS[1]: 2 * tensors[TENSORS[1]]}
    write_weights(older, others, metadata)
    add_cells(older, older, films_of_recipe(older))
    kept, _ = read_weights(older, sha256=None)
    assert all(torch.equal(kept[name], value) for name, value in others.items())


def test_other_films_than_those_of_its_constants_are_refused(whole: Path, tmp_path: Path) -> None:
    films = films_of_recipe(whole)
    with pytest.raises(WeightsError, match=r"constants of whole\.safetensors must be of") as refused:
        add_cells(whole, tmp_path / "never", films[:40])
    assert refused.value.code == "weights.other-films"
    assert not (tmp_path / "never").exists()


def test_a_packed_checkpoint_has_the_films_that_checkpoints_are_packed_with(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def draw(n_films: int, *, seed: int, **_: Any) -> tuple[torch.Tensor, None]:
        asked.append((n_films, seed))
        return torch.zeros(n_films, 1, 2, 2), None

    monkeypatch.setattr(public_cells, "draw_films", draw)
    packed = written(whole, tmp_path / "packed", recipe={"constants": "256 films"})
    assert len(films_of_recipe(packed)) == 256
    assert asked == [(pack_weights.PUBLIC_FILMS, pack_weights.PUBLIC_SEED)]


@pytest.mark.parametrize("recipe", [{}, {"films": 3}, "none"])
def test_a_file_that_names_no_films_is_refused(recipe: object, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as refused:
        films_of_recipe(written(whole, tmp_path / "strange", recipe=recipe))
    assert refused.value.code == "weights.no-recipe"


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_weights(path, {"weight": torch.zeros(2)}, {"layout": "other"})
    with pytest.raises(WeightsError, match=r"must be one of .*, not other"):
        add_cells(path, path, torch.zeros(1, 1, 8, 8))
    with pytest.raises(WeightsError, match=r"must be one of .*, not other"):
        constants_missing(path)


@pytest.mark.parametrize("name", ["standin_vgg", "standin_inception", "standin_resnet"])
def test_a_shipped_stand_in_holds_cells_of_its_map(name: str) -> None:
    tensors, _ = read_weights(CONFIG_WEIGHTS / f"{name}.safetensors", sha256=None)
    directions, variances, means = (tensors[each] for each in CELL_TENSORS)
    channels = len(tensors["osteofed.channel_mean"])
    assert (len(directions), tuple(means.shape), len(variances)) == (channels, (16, channels), 4)
    # standardised by the mean token: over the cells of a map what is usual is 0
    assert means.mean(dim=0).abs().max() < 1e-2 * tensors["osteofed.scale"]
