"""Low-rank changes to frozen attention layers: W + (α/r)·B·A, where only A and B are trained.

Owns the adapted layer and which layers of a network get one. Imports torch and the transformer.
Legend: b batch · t tokens · d width of the input · p parts · r rank.

Source: Hu et al. 2021 (arXiv 2106.09685), sections 4.1 and 4.2; A frozen: Sun et al. 2024 (arXiv
2403.12313).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from shared.model.vision_transformer import SelfAttention

# Layers of an attention that are adapted, and how many parts each has.
_ADAPTED = (("qkv", 3), ("proj", 1))


class LowRankLinear(nn.Module):
    """A frozen ``Linear`` plus a trainable product of rank r; B is zero, so it starts as the layer.

    Args:
        base: the pretrained layer; frozen here.
        rank: r.
        alpha: α; the change is scaled by α/r.
        parts: equal slices of the output, each with an A and a B of its own.
        generator: draws A.
        trains_down: whether A learns too; where it does not, means of B over sites are means of the
            changes.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float,
        parts: int,
        generator: torch.Generator,
        trains_down: bool = True,
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        inputs, outputs = base.in_features, base.out_features // parts
        drawn = torch.randn(parts, rank, inputs, generator=generator) / math.sqrt(inputs)
        self.down = nn.Parameter(drawn, requires_grad=trains_down)  # A
        self.up = nn.Parameter(torch.zeros(parts, outputs, rank))  # B

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,t,d] -> [b,t,outputs]."""
        low = torch.einsum("btd,prd->btpr", tokens, self.down)
        change = torch.einsum("btpr,por->btpo", low, self.up).flatten(2)
        adapted: Tensor = self.base(tokens) + self.scale * change
        return adapted

    def merged(self) -> nn.Linear:
        """The one layer that it is equal to, with the base's weights changed."""
        change = torch.einsum("por,prd->pod", self.up, self.down).flatten(0, 1)
        with torch.no_grad():
            self.base.weight += self.scale * change
        return self.base


def add_low_rank(
    network: nn.Module,
    *,
    rank: int,
    alpha: float,
    generator: torch.Generator,
    trains_down: bool = True,
) -> None:
    """Adapt queries, keys, values and output of every attention layer of ``network``, in place.

    The joint projection counts as three layers: each of q, k and v gets its own A and B.
    """
    for attention in [part for part in network.modules() if isinstance(part, SelfAttention)]:
        for name, parts in _ADAPTED:
            layer = LowRankLinear(
                getattr(attention, name),
                rank=rank,
                alpha=alpha,
                parts=parts,
                generator=generator,
                trains_down=trains_down,
            )
            setattr(attention, name, layer)


def merge_low_rank(network: nn.Module) -> None:
    """Write low-rank changes into the layers that they change, in place; a network without stays."""
    for attention in [part for part in network.modules() if isinstance(part, SelfAttention)]:
        for name, _ in _ADAPTED:
            layer = getattr(attention, name)
            if isinstance(layer, LowRankLinear):
                setattr(attention, name, layer.merged())
