"""A partly trained transformer learns the same from a film's cached activations as from the film."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from practice_patients import practice_patients, practice_settings
from torch import Tensor, nn

from server.federation.compose import compose_settings
from shared.contract.model_settings import EncoderSettings
from shared.errors import SettingsError
from shared.model.build import build_model
from shared.model.encoders import load_encoder
from shared.model.end_to_end import EndToEnd
from shared.model.partial import activate, activation_shape, count_frozen
from shared.model.weights import trainable
from shared.train.loss import make_patient_loss
from shared.train.patients import PatientBatch
from shared.train.rows import rows_by_loop, rows_by_vmap

FILE = Path(__file__).resolve().parents[3] / "configs" / "encoder" / "standin_vit.safetensors"
WAYS = (
    ("training=lora", "trained_blocks=1"),
    ("training=lora", "trained_blocks=2"),
    ("training=lora", "trained_blocks=1", "lora_trains=up"),
    ("training=blocks", "trained_blocks=1"),
)


def encoder_settings(*overrides: str) -> EncoderSettings:
    asked = [f"encoder.{override}" for override in overrides]
    return compose_settings(["encoder=standin_vit", "fusion=linear", *asked]).encoder


def make_model(encoder: EncoderSettings) -> EndToEnd:
    """Awake: neither head nor B is zero any more."""
    settings = practice_settings("linear").model_copy(update={"encoder": encoder})
    model = build_model(settings, 3, FILE)
    assert isinstance(model, EndToEnd)
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight += 0.05 * torch.randn(weight.shape, generator=draw)
    return model


def both_ways(encoder: EncoderSettings) -> tuple[PatientBatch, PatientBatch]:
    """The same patients with their films, and with what the frozen blocks make of them."""
    batch = practice_patients(3, exams=1, views=2)
    films = torch.rand(6, 128, 128, generator=torch.Generator().manual_seed(1))
    frozen = load_encoder(encoder, FILE)
    made = activate(frozen, films[:, None], blocks=count_frozen(frozen, encoder))
    number = torch.arange(1, 7).reshape(3, 2) * (batch.film_exam >= 0)
    return tuple(dataclasses.replace(batch, tokens=number, films=store) for store in (films, made))


def outputs(model: nn.Module, batch: PatientBatch) -> Tensor:
    held = batch.with_films()
    with torch.no_grad():
        scored: Tensor = model(held.tokens, held.film_exam, held.fields, held.field_mask)
    return scored


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_scores_and_gradients_are_equal_with_and_without_the_cache(way: tuple[str, ...]) -> None:
    encoder = encoder_settings(*way)
    model, (films, made) = make_model(encoder), both_ways(encoder)
    expected = outputs(model, films)
    torch.testing.assert_close(outputs(model, made), expected, atol=1e-6, rtol=1e-6)
    assert expected.abs().max() > 1e-2
    loss = make_patient_loss(practice_settings("linear").task)
    for rows in (rows_by_loop, rows_by_vmap):
        gradient = rows_by_loop(model, films.with_films(), loss)
        found = rows(model, made.with_films(), loss)
        largest = float(gradient.abs().max())
        assert float((found - gradient).abs().max()) <= 1e-6 * max(1.0, largest)
        assert largest > 1e-3


@pytest.mark.parametrize(
    ("way", "names"),
    [
        (WAYS[0], {"2.attn.qkv.down", "2.attn.qkv.up", "2.attn.proj.down", "2.attn.proj.up"}),
        (WAYS[2], {"2.attn.qkv.up", "2.attn.proj.up"}),
    ],
)
def test_only_pairs_of_the_last_blocks_learn(way: tuple[str, ...], names: set[str]) -> None:
    model = make_model(encoder_settings(*way))
    learn = {name for name, _ in trainable(model) if name.startswith("encoder.")}
    assert learn == {f"encoder.network.blocks.{name}" for name in names}


def test_whole_last_blocks_learn_and_no_weight_before_them() -> None:
    model = make_model(encoder_settings("training=blocks", "trained_blocks=2"))
    learn = {name for name, _ in trainable(model) if name.startswith("encoder.")}
    every = {f"encoder.{name}" for name, _ in model.encoder.named_parameters()}
    last = tuple(f"encoder.network.blocks.{place}." for place in (1, 2))
    assert learn == {name for name in every if name.startswith(last)}


def test_a_films_activations_are_its_own_bit_for_bit() -> None:
    encoder = load_encoder(encoder_settings("training=lora", "trained_blocks=1"), FILE)
    films = torch.rand(3, 1, 128, 128, generator=torch.Generator().manual_seed(2))
    together = activate(encoder, films, blocks=2)
    assert together.shape == (3, *activation_shape(encoder)) == (3, 65, 64)
    assert torch.equal(activate(encoder, films[2:], blocks=2), together[2:])
    assert activate(encoder, films[:0], blocks=2).shape == (0, 65, 64)


def test_more_blocks_than_there_are_are_refused() -> None:
    with pytest.raises(SettingsError, match="must be 0 to 3 with standin_vit, not 4") as caught:
        make_model(encoder_settings("training=lora", "trained_blocks=4"))
    assert caught.value.code == "settings.no-such-block"


@pytest.mark.parametrize(
    ("overrides", "fact"),
    [
        (("trained_blocks=1",), "trained_blocks must be 0 with training frozen"),
        (("training=blocks",), "trained_blocks must be ≥ 1 with training blocks"),
        (("lora_trains=up",), "lora_trains must be both with training frozen"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(overrides: tuple[str, ...], fact: str) -> None:
    with pytest.raises(SettingsError, match=fact):
        encoder_settings(*overrides)


def test_what_is_not_asked_is_not_written_so_that_plans_of_before_keep_their_hash() -> None:
    written = encoder_settings("training=lora").model_dump(mode="json")
    assert not {"trained_blocks", "lora_trains"} & set(written)
    asked = encoder_settings("training=lora", "trained_blocks=1", "lora_trains=up")
    written = asked.model_dump(mode="json")
    assert (written["trained_blocks"], written["lora_trains"]) == (1, "up")
    assert EncoderSettings.model_validate(written) == asked
