"""A source says which encoder it is of; file, hash, width and spreads follow from that one's option."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.errors import OsteoFedError, RunError, SettingsError, WeightsError
from shared.features.components import public_spreads, read_cells, read_components
from shared.features.sources import FeatureSettings
from shared.signing.canonical import hash_file

READY = ("encoder=none", "fusion=clinical_only", "learner=second_moments")
VGG = CONFIG_WEIGHTS / "standin_vgg.safetensors"


def composed(folder: Path, sources: str, *asked: str) -> FeatureSettings:
    """Settings with features of one's own."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    (folder / "features" / "own.yaml").write_text(f"sources: {sources}\n")
    return compose_settings(["features=own", *(asked or READY)], own=folder).features


def test_the_shipped_three_encoders_are_whole_in_the_settings() -> None:
    settings = compose_settings(["features=three_encoders", *READY])
    names = ["standin_vgg", "standin_inception", "standin_resnet"]
    sources = settings.features.of_films
    assert [source.name for source in sources] == names
    for name, source in zip(names, sources, strict=True):
        file = CONFIG_WEIGHTS / f"{name}.safetensors"
        assert source.sha256 == hash_file(file)
        assert source.spreads == public_spreads(read_components(file, 16)[1])
    assert [each.name for each in settings.encoders] == names
    assert len({each.sha256 for each in settings.encoders}) == 3
    assert settings.features.layout.film_width == 48


def test_what_a_source_says_itself_comes_first(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.safetensors"
    shutil.copyfile(VGG, copy)
    own = f"[{{kind: encoder, encoder: standin_vgg, name: old, components: 2, weights: {copy}}}]"
    [source] = composed(tmp_path / "own", own).sources
    assert (source.name, source.encoder, source.components) == ("old", "standin_vgg", 2)
    assert source.weights == str(copy)
    assert source.sha256 == hash_file(VGG)


def test_an_option_of_ones_own_gives_its_architecture_and_lends_its_name(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    option = (CONFIG_WEIGHTS / "standin_vgg.yaml").read_text()
    (tmp_path / "encoder" / "from_run_one.yaml").write_text(option)
    [source] = composed(tmp_path, "[{kind: encoder, encoder: from_run_one}]").sources
    assert (source.encoder, source.name, source.components) == ("standin_vgg", "from_run_one", 16)


def test_components_of_the_own_encoder_are_those_of_its_file(tmp_path: Path) -> None:
    asked = ("encoder=standin_vgg", "fusion=linear", "learner=second_moments")
    [image, _] = composed(tmp_path, "[{kind: image, components: 3}, {kind: clinical}]", *asked).sources
    assert image.spreads == public_spreads(read_components(VGG, 3)[1])


def test_sizes_of_cells_are_those_of_the_asked_grid_in_the_file(tmp_path: Path) -> None:
    encoder, image = "{kind: encoder, encoder: standin_vgg,", "{kind: image,"
    for grid in (2, 3, 4):
        expected = public_spreads(read_cells(VGG, 3, grid=grid)[1], n_cells=grid**2)
        cells = f"token_grid: {grid}, components: 3}}"
        [source] = composed(tmp_path / f"a{grid}", f"[{encoder} {cells}]").sources
        assert (source.token_grid, source.spreads) == (grid, expected)
        asked = ("encoder=standin_vgg", "fusion=linear", "learner=second_moments")
        [own] = composed(tmp_path / f"b{grid}", f"[{image} {cells}]", *asked).sources
        assert own.spreads == expected


def test_the_shipped_cells_stand_before_the_mean_token_of_another_encoder() -> None:
    settings = compose_settings(["features=cells_encoder_radiomics", *READY])
    widths = {name: len(columns) for name, columns in settings.features.layout.film.items()}
    assert widths == {"standin_vgg": 32, "standin_resnet": 16, "radiomics": 16}
    for columns in settings.features.layout.film.values():
        norm = sum(column.spread**2 for column in columns) ** 0.5
        assert norm == pytest.approx(3.0, rel=1e-6)


def test_an_encoder_file_from_before_there_were_cells_goes_on_without_them(tmp_path: Path) -> None:
    old = "encoder: standin_resnet_pictures"  # it holds components of the mean token
    [source] = composed(tmp_path / "mean", f"[{{kind: encoder, {old}}}]").sources
    assert len(source.spreads) == 16
    with pytest.raises(
        WeightsError, match="must be 1, since it holds no constants of cells, not 4"
    ) as (refused):
        composed(tmp_path / "cells", f"[{{kind: encoder, {old}, token_grid: 4, components: 2}}]")
    assert refused.value.code == "weights.no-cells"
    assert "osteofed-coordinator cells" in str(refused.value.hint)


def test_a_finer_grid_than_the_map_is_not_said_to_be_had_by_a_command(tmp_path: Path) -> None:
    own = "[{kind: encoder, encoder: standin_vgg, token_grid: 5, components: 2}]"
    with pytest.raises(WeightsError) as refused:
        composed(tmp_path, own)
    assert str(refused.value.hint).startswith("a grid is at most the network's own map; ")


@pytest.mark.parametrize(
    ("sources", "asked", "kind", "words"),
    [
        (
            "[{kind: encoder, encoder: standin_vgg, token_grid: 5, components: 2}]",
            READY,
            WeightsError,
            "must be 1 to 4, not 5",
        ),
        (
            "[{kind: encoder, encoder: standin_vgg, token_grid: 17, components: 2}]",
            READY,
            SettingsError,
            r"token_grid\b.*\b16\b",
        ),
        (
            "[{kind: encoder, encoder: standin_vgg, token_grid: 4, components: 40}]",
            READY,
            SettingsError,
            r"components\b.*\b32\b",
        ),
        (
            "[{kind: image, token_grid: 2, components: 40}, {kind: clinical}]",
            ("encoder=tiny", "fusion=linear", "learner=second_moments"),
            SettingsError,
            r"components\b.*\b32\b",
        ),
        (
            "[{kind: encoder, encoder: standin_vgg, token_grid: 4, components: 0}]",
            READY,
            SettingsError,
            "components must be 1 to 32 of each cell",
        ),
        (
            "[{kind: encoder, encoder: standin_vgg, token_grid: many, components: 2}]",
            READY,
            SettingsError,
            "token_grid",
        ),
        ("[{kind: encoder, encoder: vgg}]", READY, SettingsError, "encoder must be one of"),
        ("[{kind: encoder, encoder: none}]", READY, SettingsError, "encoder must be one of"),
        ("[{kind: encoder, encoder: tiny}]", READY, WeightsError, "holds 0 public components"),
        ("[{kind: encoder, encoder: vgg19}]", READY, SettingsError, "weights"),
        (
            "[{kind: encoder, encoder: standin_vgg, weights: absent}]",
            READY,
            RunError,
            "is not the file that the plan names",
        ),
        (
            "[{kind: image, components: 2}, {kind: clinical}]",
            ("encoder=standin_vgg", "fusion=clinical_only", "learner=second_moments"),
            SettingsError,
            "features.sources image needs a fusion that reads films",
        ),
    ],
)
def test_what_is_not_at_hand_is_refused_by_name(
    tmp_path: Path,
    sources: str,
    asked: tuple[str, ...],
    kind: type[OsteoFedError],
    words: str,
) -> None:
    with pytest.raises(kind, match=words):
        composed(tmp_path, sources, *asked)
