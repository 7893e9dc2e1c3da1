"""Multi-head attention from plain ``Linear`` layers, with a mask over keys.

Plain layers, because per-patient gradients must be exact under ``torch.func.vmap`` and every trainable
tensor must keep a stable name; ``nn.MultiheadAttention`` gives neither. Heads are not split off by
moving channels about: queries or keys, whichever are fewer, are written once per head with the other
heads' channels at zero, which costs some products with zero and saves every copy.
Legend: b batch, one axis or several · q queries · k keys · d width · a heads. Imports torch only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class KeyMask:
    """Which query may read which key.

    Shapes:
        bias [b,1,q,k] or [b,1,1,k], added to scores: −inf where a key may not be read, 0 elsewhere, and
        for a query without any key; has_key [b,q,1] or [b,1,1], 0 for such a query, else 1.
    """

    bias: Tensor
    has_key: Tensor

    @staticmethod
    def of(mask: Tensor, dtype: torch.dtype = torch.float32) -> KeyMask:
        """From a mask [b,q,k] or, the same for every query, [b,1,k]; True = may be read."""
        has_key = mask.any(dim=-1, keepdim=True)
        bias = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask & has_key, -math.inf)
        return KeyMask(bias.unsqueeze(-3), has_key.to(dtype))


class Attention(nn.Module):
    """Multi-head scaled dot-product attention from one set of tokens to another.

    A masked key weighs exactly 0; a query without any key gets zeros before the output layer.

    Source: Vaswani et al. 2017, section 3.2.
    """

    of_head: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        # A key's bias would shift every score of a query alike, which softmax ignores.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        channels = torch.eye(heads).repeat_interleave(width // heads, dim=1)  # [a,d]
        self.register_buffer("of_head", channels.unsqueeze(1), persistent=False)  # [a,1,d]

    def forward(self, queries: Tensor, keys: Tensor, mask: KeyMask) -> Tensor:
        """Shapes: queries [b,q,d], keys [b,k,d] -> [b,q,d]."""
        values = self.value(keys)  # [b,k,d]
        if _has_fewer_keys(queries, keys):
            by_key = self._by_key(queries, keys, mask)
            read = by_key.flatten(-3, -2).transpose(-1, -2) @ self._by_head(values)  # [b,q,d]
        else:
            of_heads = self._by_query(queries, keys, mask).flatten(-3, -2) @ values  # [b,a·q,d]
            of_heads = of_heads.reshape(*of_heads.shape[:-2], self.heads, *queries.shape[-2:])
            read = (of_heads * self.of_head).sum(dim=-3)
        attended: Tensor = self.out(read * mask.has_key)
        return attended

    def weights(self, queries: Tensor, keys: Tensor, mask: KeyMask) -> Tensor:
        """Attention weights: a query's sum to 1, or are 0 where it has no key.

        Shapes: queries [b,q,d], keys [b,k,d] -> [b,a,q,k].
        """
        if _has_fewer_keys(queries, keys):
            by_query = self._by_key(queries, keys, mask).transpose(-1, -2)
        else:
            by_query = self._by_query(queries, keys, mask)
        return by_query * mask.has_key.unsqueeze(-3)

    def _by_key(self, queries: Tensor, keys: Tensor, mask: KeyMask) -> Tensor:
        """Softmax over the keys, [b,a,k,q]; of a query without any key it says nothing."""
        scores = self._by_head(self.key(keys)) @ self._scaled(queries).transpose(-1, -2)  # [b,a·k,q]
        scores = scores.reshape(*scores.shape[:-2], self.heads, keys.shape[-2], queries.shape[-2])
        return torch.softmax(scores + mask.bias.transpose(-1, -2), dim=-2)

    def _by_query(self, queries: Tensor, keys: Tensor, mask: KeyMask) -> Tensor:
        """As ``_by_key``, [b,a,q,k]."""
        scores = self._by_head(self._scaled(queries)) @ self.key(keys).transpose(-1, -2)  # [b,a·q,k]
        scores = scores.reshape(*scores.shape[:-2], self.heads, queries.shape[-2], keys.shape[-2])
        return torch.softmax(scores + mask.bias, dim=-1)

    def _scaled(self, queries: Tensor) -> Tensor:
        """What queries ask, [b,q,d], divided by the root of a head's width."""
        asked: Tensor = self.query(queries) / math.sqrt(queries.shape[-1] // self.heads)
        return asked

    def _by_head(self, tokens: Tensor) -> Tensor:
        """Each token once per head, with that head's channels only: [b,n,d] -> [b,a·n,d]."""
        return (tokens.unsqueeze(-3) * self.of_head).flatten(-3, -2)


def _has_fewer_keys(queries: Tensor, keys: Tensor) -> bool:
    """Which side is written out once per head: the smaller."""
    return keys.shape[-2] < queries.shape[-2]
