"""Attention attends: queries matter, rows sum to 1, masked keys weigh 0."""

from __future__ import annotations

import torch
from torch.nn import functional

from shared.model.attention import Attention, KeyMask


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_attention() -> Attention:
    torch.manual_seed(0)
    return Attention(16, 4)


def test_changing_the_query_changes_the_output() -> None:
    attention = make_attention()
    keys, mask = seeded(2, 9, 16), torch.ones(2, 9, dtype=torch.bool)
    first = attention(seeded(2, 5, 16, seed=1), keys, KeyMask.of(mask[:, None]))
    second = attention(seeded(2, 5, 16, seed=2), keys, KeyMask.of(mask[:, None]))
    assert (first - second).abs().max() > 1e-2


def test_one_key_makes_the_query_irrelevant() -> None:
    attention = make_attention()
    keys, mask = seeded(2, 1, 16), torch.ones(2, 1, dtype=torch.bool)
    first = attention(seeded(2, 5, 16, seed=1), keys, KeyMask.of(mask[:, None]))
    second = attention(seeded(2, 5, 16, seed=2), keys, KeyMask.of(mask[:, None]))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_rows_sum_to_one_and_a_masked_key_weighs_zero() -> None:
    attention = make_attention()
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0, 3] = False
    mask[1, 5:] = False
    weights = attention.weights(seeded(2, 5, 16), seeded(2, 9, 16, seed=3), KeyMask.of(mask[:, None]))
    assert weights.shape == (2, 4, 5, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))
    assert torch.equal(weights[0, :, :, 3], torch.zeros(4, 5))
    assert torch.equal(weights[1, :, :, 5:], torch.zeros(4, 5, 4))


def test_each_query_may_have_its_own_keys() -> None:
    attention = make_attention()
    queries, keys = seeded(2, 5, 16), seeded(2, 9, 16, seed=3)
    mask = torch.rand(2, 5, 9, generator=torch.Generator().manual_seed(6)) > 0.4
    together = attention(queries, keys, KeyMask.of(mask))
    for query in range(5):
        alone = attention(queries[:, query : query + 1], keys, KeyMask.of(mask[:, query : query + 1]))
        torch.testing.assert_close(together[:, query : query + 1], alone)


def test_a_query_without_keys_reads_nothing_and_has_finite_gradients() -> None:
    attention = make_attention()
    queries, keys = seeded(1, 2, 16).requires_grad_(), seeded(1, 3, 16, seed=1).requires_grad_()
    mask = KeyMask.of(torch.tensor([[[False] * 3, [True, False, True]]]))
    weights = attention.weights(queries, keys, mask)
    assert torch.equal(weights[:, :, 0], torch.zeros(1, 4, 3))
    output = attention(queries, keys, mask)
    assert torch.equal(output[0, 0], attention.out.bias)
    for gradient in torch.autograd.grad(output.square().sum(), (queries, keys)):
        assert torch.isfinite(gradient).all()


def test_equals_torch_multi_head_attention() -> None:
    attention = make_attention()
    queries, keys = seeded(2, 5, 16), seeded(2, 9, 16, seed=3)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    expected, _ = functional.multi_head_attention_forward(
        queries.transpose(0, 1),
        keys.transpose(0, 1),
        keys.transpose(0, 1),
        embed_dim_to_check=16,
        num_heads=4,
        in_proj_weight=None,
        in_proj_bias=torch.cat([attention.query.bias, torch.zeros(16), attention.value.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=attention.out.weight,
        out_proj_bias=attention.out.bias,
        key_padding_mask=~mask,
        use_separate_proj_weight=True,
        q_proj_weight=attention.query.weight,
        k_proj_weight=attention.key.weight,
        v_proj_weight=attention.value.weight,
    )
    torch.testing.assert_close(
        attention(queries, keys, KeyMask.of(mask[:, None])),
        expected.transpose(0, 1),
        atol=1e-6,
        rtol=1e-5,
    )
