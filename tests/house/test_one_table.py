"""One table per concept: what a plan may name is what the program can build, and has a YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml

from server.command.app import app
from server.encoders.pretrain import LESSONS
from server.federation.compose import compose_settings
from shared.contract.model_settings import EncoderSettings, FusionSettings
from shared.contract.settings import EngineSettings, StrategySettings
from shared.model.architectures import ARCHITECTURES
from shared.model.build import build_model

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GROUPS: Mapping[str, Any] = {
    "encoder": EncoderSettings,
    "fusion": FusionSettings,
    "strategy": StrategySettings,
    "engine": EngineSettings,
}


def names_of(settings: Any) -> set[str]:
    """What a plan may name, by one kind of settings or by a union of them."""
    kinds = [kind for kind in leaves(settings) if isinstance(kind, type)]
    return {name for kind in kinds for name in get_args(kind.model_fields["name"].annotation)}


def leaves(annotation: Any) -> list[Any]:
    """The members of a union, however it is annotated."""
    parts = get_args(annotation)
    return [leaf for part in parts for leaf in leaves(part)] if parts else [annotation]


def configured(group: str) -> dict[str, Any]:
    """Every YAML of a group by its file's name."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in (CONFIGS / group).glob("*.yaml")}


@pytest.mark.parametrize("group", GROUPS)
def test_every_name_has_a_yaml_and_every_yaml_a_name(group: str) -> None:
    named = {content["name"] for content in configured(group).values()}
    assert named == names_of(GROUPS[group])


def test_encoders_of_a_plan_are_the_architectures() -> None:
    assert names_of(EncoderSettings) - {"none"} == set(ARCHITECTURES)


def choices_of(command: str, option: str) -> set[str]:
    """What an option of a coordinator's command may be."""
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    [param] = [param for param in found.params if param.name == option]
    return set(param.type.choices)


def test_checkpoints_are_packed_for_the_published_architectures_in_their_layouts() -> None:
    published = {name: set(row.published) for name, row in ARCHITECTURES.items() if row.published}
    assert choices_of("weights", "encoder") == set(published)
    assert choices_of("weights", "layout") == set.union(*published.values())


def test_an_encoder_that_is_neither_published_nor_drawn_can_be_pretrained() -> None:
    unpublished = {name for name, row in ARCHITECTURES.items() if not row.published}
    assert {lesson.network or name for name, lesson in LESSONS.items()} == unpublished - {"resnet_gn"}
    assert choices_of("pretrain", "network") == {*LESSONS, "landmark"}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_token_shapes_of_the_yaml_are_those_of_the_architecture(name: str) -> None:
    shape = ARCHITECTURES[name]
    for content in configured("encoder").values():
        if content["name"] == name:
            assert content["token_channels"] == shape.channels
            assert 1 <= content["token_grid"] <= shape.grid


@pytest.mark.parametrize("name", sorted(names_of(FusionSettings)))
def test_every_fusion_can_be_built(name: str) -> None:
    settings = compose_settings([f"fusion={name}"])
    weights = [weight for weight in build_model(settings, 1).parameters() if weight.requires_grad]
    assert sum(weight.numel() for weight in weights) > 1
