"""Encoders compute the published networks and refuse any file that is not exactly theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.contract.model_settings import EncoderSettings
from shared.errors import WeightsError
from shared.model.architectures import ARCHITECTURES
from shared.model.encoders import (
    colour,
    encode,
    find_layout,
    load_encoder,
    make_encoder,
    pack_encoder,
)
from shared.model.weights import read_weights, write_weights

State = dict[str, Tensor]


def random_state(name: str, *, seed: int = 0) -> State:
    """Random weights of an architecture, variances positive."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in make_encoder(name, grid=1).network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        spread = 1.0 / max(1.0, value[0].numel() if value.dim() > 1 else 1.0) ** 0.5
        state[key] = spread * torch.randn(value.shape, generator=draw)
        if key.endswith("running_var"):
            state[key] = 0.5 + state[key].abs()
    return state


def random_films(n: int, pixels: int = 128) -> Tensor:
    return torch.rand(n, 1, pixels, pixels, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EncoderSettings]:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    digest = pack_encoder("tiny", random_state("tiny"), random_films(12), path, recipe={"seed": 1})
    settings = EncoderSettings(
        name="tiny", weights=path.name, sha256=digest, token_channels=48, token_grid=4
    )
    return path, settings


def test_a_packed_encoder_loads_frozen_and_repeats_itself(
    packed: tuple[Path, EncoderSettings],
) -> None:
    path, settings = packed
    encoder = load_encoder(settings, path)
    tokens = encode(encoder, random_films(3), batch=2)
    assert tokens.shape == (3, 16, 48)
    assert torch.equal(tokens, encode(load_encoder(settings, path), random_films(3), batch=2))
    assert not encoder.training
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert encode(encoder, random_films(3)[:0]).shape == (0, 16, 48)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_a_films_tokens_are_the_same_bits_whatever_the_others_are(
    batch: int | None, packed: tuple[Path, EncoderSettings]
) -> None:
    encoder = load_encoder(packed[1], packed[0])
    films = random_films(7)
    alone = torch.cat([encode(encoder, film[None], batch=batch) for film in films])
    for company in ([*range(7)], [*range(7)][::-1], [6, 2], [3, 3, 3, 0, 5]):
        assert torch.equal(encode(encoder, films[company], batch=batch), alone[company])


def test_pooled_tokens_of_the_public_films_are_standard_with_norm_about_three(
    packed: tuple[Path, EncoderSettings],
) -> None:
    pooled = encode(load_encoder(packed[1], packed[0]), random_films(12)).mean(dim=1)
    torch.testing.assert_close(pooled.mean(dim=0), torch.zeros(48), atol=1e-3, rtol=0)
    # n − 1 of n: the constants' SD is the sample's own
    assert pooled.square().sum(dim=1).mean().item() == pytest.approx(9.0 * 11 / 12, rel=1e-3)


def test_a_coarser_grid_is_the_mean_of_its_cells(packed: tuple[Path, EncoderSettings]) -> None:
    path, settings = packed
    fine = load_encoder(settings.model_copy(update={"token_grid": 8}), path)
    coarse = load_encoder(settings.model_copy(update={"token_grid": 4}), path)
    films = random_films(2)
    cells = encode(fine, films).reshape(2, 4, 2, 4, 2, 48).mean(dim=(2, 4))
    torch.testing.assert_close(encode(coarse, films), cells.reshape(2, 16, 48))


def refuse(settings: EncoderSettings, path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_encoder(settings, path)
    return caught.value.code


def test_a_missing_or_changed_file_is_refused(packed: tuple[Path, EncoderSettings]) -> None:
    path, settings = packed
    other = settings.model_copy(update={"sha256": "0" * 64})
    assert refuse(settings, path.with_name("absent.safetensors")) == "weights.missing"
    assert refuse(other, path) == "weights.wrong-hash"


def test_keys_shapes_layout_and_constants_must_all_fit(
    packed: tuple[Path, EncoderSettings], tmp_path: Path
) -> None:
    path, settings = packed
    tensors, metadata = read_weights(path, sha256=None)

    def with_changes(metadata: dict[str, object] = metadata, **changes: Tensor | None) -> str:
        changed = {**tensors, **changes}
        kept = {name: value for name, value in changed.items() if value is not None}
        digest = write_weights(tmp_path / "w.safetensors", kept, metadata)
        return refuse(settings.model_copy(update={"sha256": digest}), tmp_path / "w.safetensors")

    wrong = "weights.wrong-layout"
    assert with_changes(**{"extra.weight": torch.zeros(1)}) == wrong
    assert with_changes(**{"project.bias": None}) == wrong
    assert with_changes(**{"project.bias": torch.zeros(7)}) == wrong
    assert with_changes(**{"osteofed.scale": None}) == wrong
    assert with_changes(**{"osteofed.probe_film": None}) == wrong
    assert with_changes(**{"osteofed.probe_tokens": None}) == wrong
    assert with_changes(**{"osteofed.channel_mean": torch.full((48,), torch.nan)}) == wrong
    assert with_changes(metadata={"layout": "torchvision-resnet34"}) == wrong
    assert refuse(settings.model_copy(update={"token_channels": 64}), path) == wrong
    assert refuse(settings.model_copy(update={"token_grid": 9}), path) == wrong


def test_weights_that_do_not_repeat_their_stored_activations_are_refused(
    packed: tuple[Path, EncoderSettings], tmp_path: Path
) -> None:
    tensors, metadata = read_weights(packed[0], sha256=None)
    tensors["last.norm.weight"] = tensors["last.norm.weight"] * 1.1
    digest = write_weights(tmp_path / "w.safetensors", tensors, metadata)
    settings = packed[1].model_copy(update={"sha256": digest})
    assert refuse(settings, tmp_path / "w.safetensors") == "weights.failed-activation-check"


def test_packing_leaves_out_the_published_classifier_and_nothing_else(tmp_path: Path) -> None:
    state = random_state("resnet34")
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    state |= {"bn1.num_batches_tracked": torch.tensor(3)}
    path = tmp_path / "resnet34.safetensors"
    films, recipe = random_films(2), {"source": "random"}
    digest = pack_encoder("resnet34", state, films, path, recipe=recipe, layout="torchvision")
    settings = EncoderSettings(name="resnet34", sha256=digest, token_channels=512, token_grid=7)
    assert encode(load_encoder(settings, path), random_films(1)).shape == (1, 49, 512)
    odd = state | {"odd": torch.zeros(1)}
    with pytest.raises(WeightsError) as caught:
        pack_encoder("resnet34", odd, films, path, recipe={}, layout="torchvision")
    assert caught.value.code == "weights.wrong-layout"


def test_resnet34_has_torchvisions_keys_and_shapes() -> None:
    state = random_state("resnet34")
    # torchvision.models.resnet34: 36 convolutions and 36 normalisations of 4 tensors, without fc.
    assert len(state) == 36 + 4 * 36
    assert sum(value.numel() for key, value in state.items() if "running" not in key) == 21_284_672
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert state["layer4.0.downsample.0.weight"].shape == (512, 256, 1, 1)
    assert "layer4.0.downsample.0.bias" not in state


def torchvision_resnet34(state: State, image: Tensor) -> Tensor:
    """The network written out from its paper, on torchvision's names."""

    def normalise(name: str, x: Tensor) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (state[f"{name}.{key}"] for key in keys)
        return functional.batch_norm(x, mean, variance, weight, bias)

    x = functional.conv2d(image, state["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(functional.relu(normalise("bn1", x)), 3, stride=2, padding=1)
    for layer, n_blocks in enumerate((3, 4, 6, 3), start=1):
        for index in range(n_blocks):
            block = f"layer{layer}.{index}"
            stride = 2 if layer > 1 and index == 0 else 1
            short = x
            if stride == 2:
                short = functional.conv2d(x, state[f"{block}.downsample.0.weight"], stride=2)
                short = normalise(f"{block}.downsample.1", short)
            y = functional.conv2d(x, state[f"{block}.conv1.weight"], stride=stride, padding=1)
            y = functional.relu(normalise(f"{block}.bn1", y))
            y = functional.conv2d(y, state[f"{block}.conv2.weight"], padding=1)
            x = functional.relu(normalise(f"{block}.bn2", y) + short)
    return x


def published_dinov2(state: State, image: Tensor) -> Tensor:
    """ViT-S/14 written out on torch's own multi-head attention."""
    norm = lambda name, x: functional.layer_norm(  # noqa: E731
        x, (384,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6
    )
    linear = lambda name, x: functional.linear(  # noqa: E731
        x, state[f"{name}.weight"], state[f"{name}.bias"]
    )
    patches = functional.unfold(image, 14, stride=14).transpose(1, 2)  # [b,256,588]
    kernel = state["patch_embed.proj.weight"].reshape(384, -1)
    tokens = functional.linear(patches, kernel, state["patch_embed.proj.bias"])
    grid = state["pos_embed"][0, 1:].T.reshape(1, 384, 37, 37)
    cells = functional.interpolate(grid, size=(16, 16), mode="bicubic").reshape(384, 256).T
    tokens = torch.cat(
        [state["cls_token"] + state["pos_embed"][:, :1], tokens + cells[None]], dim=1
    ).transpose(0, 1)  # [t,b,d]
    for index in range(12):
        name = f"blocks.{index}"
        x = norm(f"{name}.norm1", tokens)
        attended, _ = functional.multi_head_attention_forward(
            x,
            x,
            x,
            384,
            6,
            state[f"{name}.attn.qkv.weight"],
            state[f"{name}.attn.qkv.bias"],
            None,
            None,
            False,
            0.0,
            state[f"{name}.attn.proj.weight"],
            state[f"{name}.attn.proj.bias"],
        )
        tokens = tokens + state[f"{name}.ls1.gamma"] * attended
        x = functional.gelu(linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", tokens)))
        tokens = tokens + state[f"{name}.ls2.gamma"] * linear(f"{name}.mlp.fc2", x)
    return norm("norm", tokens)[1:].permute(1, 2, 0).reshape(-1, 384, 16, 16)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("resnet34", torchvision_resnet34), ("dinov2_s", published_dinov2)],
)
def test_public_networks_equal_an_independent_reference(name: str, reference: object) -> None:
    state = random_state(name)
    network = make_encoder(name, grid=1).network
    network.load_state_dict(state, strict=False)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    assert callable(reference)
    with torch.inference_mode():
        expected = reference(state, image)
        found = network(image)
    assert found.shape[1:] == (ARCHITECTURES[name].channels, *[ARCHITECTURES[name].grid] * 2)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)


def test_public_networks_see_three_equal_imagenet_channels_of_224_pixels() -> None:
    image = ARCHITECTURES["resnet34"].image
    assert image is not None
    prepared = colour(torch.full((1, 1, 128, 128), 0.485), image)
    assert prepared.shape == (1, 3, 224, 224)
    # (0.485 − mean)/SD per channel
    assert prepared[0, :, 5, 5].tolist() == pytest.approx(
        [0.0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225], abs=1e-5
    )


def test_an_encoder_hands_its_network_the_image_of_its_row() -> None:
    encoder = make_encoder("standin_inception", grid=4)
    films = random_films(1)
    # (x − .5)/.5 of 171 pixels in three channels
    image = functional.interpolate(films, size=(171, 171), mode="bilinear") * 2 - 1
    with torch.inference_mode():
        found, expected = encoder.map_films(films), encoder.network(image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_layout_that_nobody_publishes_of_an_architecture_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        WeightsError, match=r"one of \['radimagenet-torch', 'torchvision'\], not dinov2"
    ):
        find_layout("resnet50", "dinov2")
    with pytest.raises(WeightsError, match=r"one of \[\], not torchvision"):
        find_layout("tiny", "torchvision")
