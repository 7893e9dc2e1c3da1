"""Multi-head attention from plain ``Linear`` layers, with a mask over keys.

Plain layers, because per-patient gradients must be exact under ``torch.func.vmap`` and every
trainable tensor must keep a stable name; ``nn.MultiheadAttention`` gives neither.
Legend: b batch, one axis or several · q queries · k keys · d width · a heads. Imports torch only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis in which a masked key weighs exactly 0.

    A row without any key gets zeros, not NaN.

    Shapes: scores [...,q,k], mask [...,q,k] or [...,1,k] (True = may be attended to).
    """
    low = torch.finfo(scores.dtype).min / 2
    weights = torch.softmax(scores.masked_fill(~mask, low), dim=-1)
    return weights * mask.to(weights.dtype)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention from one set of tokens to another.

    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        # A key's bias would shift every score of a row alike, which softmax ignores.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Shapes: queries [b,q,d], keys [b,k,d], mask [b,q,k] or [b,1,k] -> [b,q,d]."""
        weights = self.weights(queries, keys, mask)  # [b,a,q,k]
        values = self._split(self.value(keys))  # [b,a,k,d/a]
        mixed = (weights @ values).transpose(-2, -3)  # [b,q,a,d/a]
        attended: Tensor = self.out(mixed.reshape(queries.shape))
        return attended

    def weights(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Attention weights: rows sum to 1, a masked key weighs 0.

        Shapes: queries [b,q,d], keys [b,k,d], mask [b,q,k] or [b,1,k] -> [b,a,q,k].
        """
        asked = self._split(self.query(queries))  # [b,a,q,d/a]
        offered = self._split(self.key(keys))  # [b,a,k,d/a]
        scores = asked @ offered.transpose(-1, -2) / math.sqrt(asked.shape[-1])
        return masked_softmax(scores, mask.unsqueeze(-3))

    def _split(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,k,d] -> [b,a,k,d/a]."""
        width = tokens.shape[-1] // self.heads
        return tokens.reshape(*tokens.shape[:-1], self.heads, width).transpose(-2, -3)
