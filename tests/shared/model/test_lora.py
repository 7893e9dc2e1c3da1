"""Low-rank layers: nothing at the start, W + (α/r)·B·A afterwards, and W itself never trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared.model.lora import LowRankLinear, add_low_rank, merge_low_rank
from shared.model.vision_transformer import DINOV2_S, STANDIN, Block, VisionTransformer
from shared.model.weights import trainable

WIDTH, RANK = 12, 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_layer(*, parts: int = 3, alpha: float = 5.0) -> LowRankLinear:
    base = nn.Linear(WIDTH, parts * WIDTH)
    return LowRankLinear(base, rank=RANK, alpha=alpha, parts=parts, generator=seeded())


def make_blocks() -> nn.Module:
    blocks = nn.Sequential(Block(WIDTH, 3), Block(WIDTH, 3)).requires_grad_(False)
    add_low_rank(blocks, rank=RANK, alpha=5.0, generator=seeded())
    return blocks


def test_an_adapted_layer_starts_as_the_layer_it_adapts() -> None:
    layer, tokens = make_layer(), torch.randn(2, 5, WIDTH, generator=seeded(1))
    assert torch.equal(layer(tokens), layer.base(tokens))


def test_the_change_is_the_scaled_product_of_each_parts_own_pair() -> None:
    layer, tokens = make_layer(), torch.randn(2, 5, WIDTH, generator=seeded(1))
    with torch.no_grad():
        layer.up.normal_(generator=seeded(2))
    for part in range(3):
        rows = slice(part * WIDTH, (part + 1) * WIDTH)
        # α/r = 2.5
        weight = layer.base.weight[rows] + 2.5 * layer.up[part] @ layer.down[part]
        expected = tokens @ weight.T + layer.base.bias[rows]
        torch.testing.assert_close(layer(tokens)[..., rows], expected)


def test_a_is_drawn_from_the_generator_with_variance_one_over_inputs() -> None:
    base = nn.Linear(400, 400)
    first, again = (
        LowRankLinear(base, rank=50, alpha=1.0, parts=1, generator=seeded(3)) for _ in range(2)
    )
    assert torch.equal(first.down, again.down)
    # 20,000 draws: the estimate of the variance has a relative error of √(2/20,000) = 1 %
    assert float(first.down.detach().var()) * 400 == pytest.approx(1.0, abs=0.05)
    assert not first.up.any()


def test_every_attention_layer_is_adapted_and_only_pairs_are_trainable() -> None:
    names = {name for name, _ in trainable(make_blocks())}
    assert names == {
        f"{block}.attn.{layer}.{half}"
        for block in range(2)
        for layer in ("qkv", "proj")
        for half in ("down", "up")
    }


def test_a_base_layer_that_was_trainable_is_frozen() -> None:
    assert {name for name, _ in trainable(make_layer())} == {"down", "up"}


def test_real_size_adds_as_many_weights_as_its_shapes_say() -> None:
    with torch.device("meta"):
        network = VisionTransformer(DINOV2_S).requires_grad_(False)
    add_low_rank(network, rank=4, alpha=4.0, generator=seeded())
    # 12 blocks · 4 layers (q, k, v, out) · rank 4 · (384 in + 384 out)
    assert sum(weight.numel() for _, weight in trainable(network)) == 12 * 4 * 4 * 768


def test_adapted_blocks_start_as_the_blocks_and_queries_change_by_queries_own_pair() -> None:
    plain = nn.Sequential(Block(WIDTH, 3), Block(WIDTH, 3))
    tokens = torch.randn(2, 5, WIDTH, generator=seeded(1))
    expected = plain(tokens)
    add_low_rank(plain, rank=RANK, alpha=5.0, generator=seeded())
    torch.testing.assert_close(plain(tokens), expected)
    qkv = plain[0].attn.qkv
    before = qkv(tokens)
    with torch.no_grad():
        qkv.up[0] = 1.0
    moved = (qkv(tokens) - before).abs().amax(dim=(0, 1))
    assert moved[:WIDTH].min() > 0
    assert not moved[WIDTH:].any()


def test_a_mean_over_sites_is_their_mean_change_only_where_a_is_frozen() -> None:
    bias = {}
    for trains_down in (True, False):
        sites = [
            LowRankLinear(
                nn.Linear(WIDTH, WIDTH),
                rank=RANK,
                alpha=5.0,
                parts=1,
                generator=seeded(),
                trains_down=trains_down,
            )
            for _ in range(3)
        ]
        for place, layer in enumerate(sites):
            for _, weight in trainable(layer):
                weight.data += 0.3 * torch.randn(weight.shape, generator=seeded(place + 1))
        mean_change = torch.stack([layer.up[0] @ layer.down[0] for layer in sites]).mean(dim=0)
        up, down = (
            torch.stack([getattr(layer, half)[0] for layer in sites]).mean(dim=0)
            for half in ("up", "down")
        )
        apart = (up @ down - mean_change).norm() / mean_change.norm()
        bias[trains_down] = float(apart.detach())
    assert bias[False] < 1e-6
    assert bias[True] > 0.1


def test_a_merged_layer_says_what_the_adapted_one_said() -> None:
    layer = make_layer()
    layer.up.data += 0.3 * torch.randn(layer.up.shape, generator=seeded(5))
    tokens = torch.randn(2, 5, layer.base.in_features, generator=seeded(6))
    with torch.no_grad():
        base, adapted = layer.base(tokens), layer(tokens)
        merged = layer.merged()(tokens)
    assert (adapted - base).abs().max() > 0.1
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=1e-5)


def test_a_merged_network_has_the_names_of_one_that_was_never_adapted() -> None:
    network = VisionTransformer(STANDIN)
    names = list(network.state_dict())
    film = torch.randn(1, 3, STANDIN.pixels, STANDIN.pixels, generator=seeded(1))
    add_low_rank(network, rank=2, alpha=4.0, generator=seeded(2))
    for name, weight in network.named_parameters():
        if name.endswith(".up"):
            weight.data += 0.2
    with torch.no_grad():
        adapted = network(film)
        merge_low_rank(network)
        merge_low_rank(network)  # a network without changes stays
        torch.testing.assert_close(network(film), adapted, atol=1e-4, rtol=1e-4)
    assert list(network.state_dict()) == names
