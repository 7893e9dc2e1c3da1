"""Multi-head attention from plain ``Linear`` layers, with a mask over keys.

Plain layers, because per-patient gradients must be exact under ``torch.func.vmap`` and every trainable
tensor must keep a stable name; ``nn.MultiheadAttention`` gives neither. Heads are not split off by
moving channels about: each head's query is the whole query with the other heads' channels at zero,
which costs some products with zero and saves every copy.
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
        bias [b,k,1,q] or [b,k,1,1], added to scores: −inf where a key may not be read, 0 elsewhere, and
        for a query without any key; has_key [b,q,1] or [b,1,1], 0 for such a query, else 1.
    """

    bias: Tensor
    has_key: Tensor

    @staticmethod
    def of(mask: Tensor, dtype: torch.dtype = torch.float32) -> KeyMask:
        """From a mask [b,q,k] or, the same for every query, [b,1,k]; True = may be read."""
        has_key = mask.any(dim=-1, keepdim=True)
        bias = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask & has_key, -math.inf)
        return KeyMask(bias.transpose(-1, -2).unsqueeze(-2), has_key.to(dtype))


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
        weights = self._by_key(queries, keys, mask)  # [b,k,a·q]
        read = weights.transpose(-1, -2) @ self.value(keys)  # [b,a·q,d]
        of_heads = read.reshape(*read.shape[:-2], self.heads, *queries.shape[-2:])  # [b,a,q,d]
        attended: Tensor = self.out((of_heads * self.of_head).sum(dim=-3) * mask.has_key)
        return attended

    def weights(self, queries: Tensor, keys: Tensor, mask: KeyMask) -> Tensor:
        """Attention weights: a query's sum to 1, or are 0 where it has no key.

        Shapes: queries [b,q,d], keys [b,k,d] -> [b,a,q,k].
        """
        by_key = self._split(self._by_key(queries, keys, mask))  # [b,k,a,q]
        return by_key.movedim(-3, -1) * mask.has_key.unsqueeze(-3)

    def _by_key(self, queries: Tensor, keys: Tensor, mask: KeyMask) -> Tensor:
        """Softmax over the keys, [b,k,a·q]; of a query without any key it says nothing."""
        scale = 1.0 / math.sqrt(queries.shape[-1] // self.heads)
        asked = ((self.query(queries) * scale).unsqueeze(-3) * self.of_head).flatten(-3, -2)
        scores = self.key(keys) @ asked.transpose(-1, -2)  # [b,k,a·q]
        return torch.softmax((self._split(scores) + mask.bias).flatten(-2), dim=-2)

    def _split(self, by_key: Tensor) -> Tensor:
        """Shapes: [b,k,a·q] -> [b,k,a,q]."""
        return by_key.reshape(*by_key.shape[:-1], self.heads, by_key.shape[-1] // self.heads)
