"""The fully trainable network: no statistics over films, known scale, equal from an equal seed."""

from __future__ import annotations

import pytest
import torch

from shared.model.resnet_gn import CHANNELS, GRID, GroupNormResNet, draw_weights


def make_network(seed: int = 0) -> GroupNormResNet:
    network = GroupNormResNet()
    draw_weights(network, torch.Generator().manual_seed(seed))
    return network


def films(n: int, pixels: int = 128) -> torch.Tensor:
    return torch.rand(n, 1, pixels, pixels, generator=torch.Generator().manual_seed(1))


def test_a_film_becomes_a_map_of_the_stated_shape() -> None:
    assert make_network()(films(2)).shape == (2, CHANNELS, GRID, GRID)


def test_a_films_map_does_not_depend_on_the_films_beside_it_in_train_mode_either() -> None:
    network, some = make_network().train(), films(3)
    others = torch.cat([some[:1], 1e3 * some[1:]])
    torch.testing.assert_close(network(others)[:1], network(some)[:1], atol=1e-5, rtol=1e-5)


def test_a_block_adds_its_short_cut_to_its_two_convolutions() -> None:
    block = make_network().blocks[0]
    image = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        within = block.norm2(block.conv2(block.norm1(block.conv1(image)).clamp(min=0)))
        short = block.short_norm(block.short(image))
        made = block(image)
    torch.testing.assert_close(made, (within + short).clamp(min=0))
    assert made.shape == (2, block.conv1.out_channels, 4, 4)
    assert (made > 0).any(dim=0).any()


def test_it_has_no_buffers_that_could_remember_films() -> None:
    assert not list(make_network().buffers())


def test_tokens_have_unit_variance_from_the_start() -> None:
    mapped = make_network()(films(4)).detach()
    assert float(mapped.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(mapped.var()) == pytest.approx(1.0, abs=1e-2)


def test_a_seed_fixes_the_weights_and_another_changes_them() -> None:
    first, again, other = (make_network(seed)(films(1)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_convolution_keeps_the_variance_of_what_it_sees() -> None:
    for name, weight in make_network().named_parameters():
        if weight.dim() == 4:
            inputs = weight[0].numel()
            spread = float(weight.detach().var()) * inputs / 2
            assert spread == pytest.approx(1.0, abs=6 * (2 / weight.numel()) ** 0.5), name


def test_it_is_small_and_takes_films_of_other_sizes() -> None:
    network = make_network()
    # stem 784; blocks 4,864 + 14,336 + 57,344 + 229,376; normalisations 2·(16 + 3·(16+32+64+128) + 128)
    assert sum(weight.numel() for weight in network.parameters()) == 308_432
    assert network(films(1, pixels=224)).shape == (1, CHANNELS, 7, 7)
