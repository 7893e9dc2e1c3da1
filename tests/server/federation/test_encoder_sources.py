"""A source says which encoder it is of; file, hash, width and spreads follow from that one's option."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.errors import OsteoFedError, RunError, SettingsError, WeightsError
from shared.features.components import public_spreads, read_components
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


@pytest.mark.parametrize(
    ("sources", "asked", "kind", "words"),
    [
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
