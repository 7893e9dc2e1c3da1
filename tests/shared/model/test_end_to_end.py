"""Films in place of tokens: the same scores as the cached path, and a start that cannot be mistaken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from practice_films import EncoderFile, pack_random_dinov2, small_dinov2
from torch import Tensor, nn

from server.federation.compose import compose_settings
from shared.contract.settings import Settings
from shared.errors import SettingsError, WeightsError
from shared.model.build import build_model
from shared.model.encoders import encode, load_encoder
from shared.model.end_to_end import EndToEnd
from shared.model.lora import LowRankLinear
from shared.model.weights import flatten_weights, layout, layout_sha256, trainable

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
TINY = CONFIGS / "encoder" / "tiny.safetensors"
N_FIELDS = 9
Exams = tuple[Tensor, Tensor, Tensor, Tensor]


def settings_for(*overrides: str) -> Settings:
    return compose_settings(["fusion=linear", *overrides])


def make_exams(n: int = 3, *, views: int = 2) -> Exams:
    draw = torch.Generator().manual_seed(0)
    fields = torch.randn(n, N_FIELDS, generator=draw)
    for column in (1, 7, 8):
        fields[:, column] = torch.randint(0, 2, (n,), generator=draw).float()
    return (
        torch.rand(n, views, 128, 128, generator=draw),
        torch.zeros(n, views, dtype=torch.int64),
        fields[:, None],
        torch.ones(n, 1, N_FIELDS, dtype=torch.bool),
    )


def wake(model: nn.Module) -> nn.Module:
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight += 0.05 * torch.randn(weight.shape, generator=draw)
    return model


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> EncoderFile:
    with small_dinov2():
        return pack_random_dinov2(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def small_file(packed: EncoderFile) -> Iterator[EncoderFile]:
    with small_dinov2():
        yield packed


def lora_settings(file: EncoderFile, *overrides: str) -> Settings:
    return settings_for(
        "encoder=dinov2_s_lora",
        "encoder.token_channels=48",
        f"encoder.weights={file.path}",
        f"encoder.sha256={file.sha256}",
        *overrides,
    )


@pytest.mark.parametrize("fusion", ["linear", "cross_attention", "image_only"])
def test_a_model_on_films_scores_what_the_fusion_scores_on_cached_tokens(fusion: str) -> None:
    frozen = settings_for("encoder=tiny", f"fusion={fusion}")
    whole = settings_for("encoder=tiny", "encoder.training=full", f"fusion={fusion}")
    model = build_model(whole, 3, TINY)
    assert isinstance(model, EndToEnd)
    wake(model.head)
    films, film_exam, fields, field_mask = make_exams()
    encoder = load_encoder(frozen.encoder, TINY)
    tokens = encode(encoder, films.reshape(6, 1, 128, 128)).reshape(3, 2, 16, 48)
    expected = model.head(tokens, film_exam, fields, field_mask)
    found = model(films, film_exam, fields, field_mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.abs().max() > 1e-2


def test_the_fusion_starts_as_in_a_frozen_run_of_the_same_seed() -> None:
    frozen = build_model(settings_for("encoder=tiny"), 3)
    whole = build_model(settings_for("encoder=tiny", "encoder.training=full"), 3, TINY)
    assert isinstance(whole, EndToEnd)
    assert np.array_equal(flatten_weights(frozen), flatten_weights(whole.head))
    assert torch.equal(whole(*make_exams()), torch.zeros(3, 1, 1))


@pytest.mark.parametrize(
    "overrides", [["encoder=resnet_gn"], ["encoder=tiny", "encoder.training=full"]]
)
def test_padding_views_changes_nothing_and_exams_without_views_score(overrides: list[str]) -> None:
    settings = settings_for(*overrides)
    model = wake(build_model(settings, 3, TINY))
    films, film_exam, fields, field_mask = make_exams()
    padded = torch.cat([films, torch.ones_like(films[:, :1])], dim=1)
    with_empty = torch.cat([film_exam, torch.full_like(film_exam[:, :1], -1)], dim=1)
    expected = model(films, film_exam, fields, field_mask)
    torch.testing.assert_close(model(padded, with_empty, fields, field_mask), expected)
    hidden = model(films, torch.full_like(film_exam, -1), fields, field_mask)
    torch.testing.assert_close(model(films[:, :0], film_exam[:, :0], fields, field_mask), hidden)
    assert (hidden - expected).abs().max() > 1e-3
    nobody = model(films[:0], film_exam[:0], fields[:0], field_mask[:0])
    assert nobody.shape == (0, 1, 1)


def test_full_training_frees_every_weight_and_starts_at_the_files() -> None:
    model = build_model(settings_for("encoder=tiny", "encoder.training=full"), 3, TINY)
    assert isinstance(model, EndToEnd)
    frozen = load_encoder(settings_for("encoder=tiny").encoder, TINY)
    own = dict(model.encoder.network.named_parameters())
    for name, weight in frozen.network.named_parameters():
        assert torch.equal(own[name], weight)
        assert own[name].requires_grad
    for name in ("channel_mean", "channel_sd", "scale"):
        assert torch.equal(getattr(model.encoder, name), getattr(frozen, name))


def test_a_network_from_the_seed_is_equal_everywhere_and_has_tokens_of_norm_three() -> None:
    settings = settings_for("encoder=resnet_gn")
    first, again, other = (build_model(settings, seed) for seed in (3, 3, 4))
    assert np.array_equal(flatten_weights(first), flatten_weights(again))
    assert not np.array_equal(flatten_weights(first), flatten_weights(other))
    assert isinstance(first, EndToEnd)
    tokens = first.encoder(make_exams()[0].reshape(6, 1, 128, 128))
    assert tokens.shape == (6, 16, 128)
    assert float(tokens.detach().square().sum(dim=2).mean()) == pytest.approx(9.0, rel=0.02)


def test_low_rank_training_frees_the_pairs_and_the_fusion_and_leaves_the_file_as_it_is(
    small_file: EncoderFile,
) -> None:
    settings = lora_settings(small_file, "encoder.lora_rank=2")
    model = build_model(settings, 3, small_file.path)
    assert isinstance(model, EndToEnd)
    head = build_model(settings_for("encoder=tiny", "encoder.token_channels=48"), 3)
    # 2 blocks · 4 layers · rank 2 · (48 + 48), and the fusion
    assert len(flatten_weights(model)) == 2 * 4 * 2 * 96 + len(flatten_weights(head))
    assert all(
        name.split(".")[-1] in ("down", "up") or name.startswith("head.") for name, _ in layout(model)
    )
    scales = {part.scale for part in model.modules() if isinstance(part, LowRankLinear)}
    assert scales == {2.0}  # α/r = 4/2
    frozen = load_encoder(settings.encoder, small_file.path)
    film = make_exams(1)[0][:, :1]
    torch.testing.assert_close(model.encoder(film), frozen(film), atol=1e-4, rtol=1e-4)
    again, other = (build_model(settings, seed, small_file.path) for seed in (3, 4))
    assert np.array_equal(flatten_weights(model), flatten_weights(again))
    assert not np.array_equal(flatten_weights(model), flatten_weights(other))


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_without_the_plans_file_nothing_starts(kind: str, small_file: EncoderFile) -> None:
    settings = (
        lora_settings(small_file)
        if kind == "lora"
        else settings_for("encoder=tiny", "encoder.training=full")
    )
    with pytest.raises(SettingsError) as caught:
        build_model(settings, 3)
    assert caught.value.code == "settings.no-encoder-file"


def test_another_file_than_the_plans_is_refused(small_file: EncoderFile) -> None:
    with pytest.raises(WeightsError) as caught:
        build_model(lora_settings(small_file), 3, TINY)
    assert caught.value.code == "weights.wrong-hash"


def test_a_token_shape_that_is_not_the_networks_is_refused() -> None:
    for change in ("encoder.token_channels=64", "encoder.token_grid=5"):
        with pytest.raises(WeightsError, match="resnet_gn gives 128 channels on a grid of 1 to 4"):
            build_model(settings_for("encoder=resnet_gn", change), 3)


def test_layouts_of_frozen_low_rank_and_full_training_differ(small_file: EncoderFile) -> None:
    models = [
        build_model(lora_settings(small_file), 3, small_file.path),
        build_model(lora_settings(small_file, "encoder.lora_rank=2"), 3, small_file.path),
        build_model(settings_for("encoder=tiny"), 3),
        build_model(settings_for("encoder=tiny", "encoder.training=full"), 3, TINY),
        build_model(settings_for("encoder=resnet_gn"), 3),
    ]
    assert len({layout_sha256(model) for model in models}) == len(models)


@pytest.mark.parametrize(
    ("overrides", "fact"),
    [
        (["encoder=tiny", "encoder.training=lora"], "dinov2_s or standin_vit or vit_s, not tiny"),
        (["encoder=none", "encoder.training=full", "fusion=clinical_only"], "not none"),
        (["encoder=resnet34", "encoder.training=full"], "resnet_gn or tiny, not resnet34"),
        (["encoder=dinov2_s", "encoder.training=full"], "resnet_gn or tiny, not dinov2_s"),
        (["encoder=resnet_gn", "encoder.training=frozen"], "resnet_gn needs encoder.weights"),
        (["encoder=resnet_gn", f"encoder.sha256={'0' * 64}"], "resnet_gn needs encoder.weights"),
        (["encoder=resnet_gn", "fusion=clinical_only"], "needs a fusion that reads films"),
        (["encoder=tiny", "encoder.lora_rank=0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_settings_are_read(
    overrides: list[str], fact: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_for(*overrides)
    assert fact in caught.value.fact


def test_every_encoder_option_stays_frozen_unless_it_says_otherwise() -> None:
    trained = {
        path.stem: yaml.safe_load(path.read_text()).get("training", "frozen")
        for path in (CONFIGS / "encoder").glob("*.yaml")
    }
    assert {name for name, training in trained.items() if training != "frozen"} == {
        "dinov2_s_lora",
        "resnet_gn",
    }
