"""How image tokens and clinical tokens meet: five heads with one signature.

``forward(tokens [b,v,t,c], view_mask [b,v], fields [b,k], field_mask [b,k]) -> [b,o]``, without
batch statistics, dropout or in-place writes, so that one patient's gradient depends on that patient
alone. The last layer is zeroed by ``shared.model.build``.
Legend: b batch · v views · t tokens of a view · c channels · k fields · d width · o outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared.exam.schema import ClinicalField
from shared.model.attention import Attention
from shared.model.clinical_tokens import ClinicalDesign, ClinicalTokens


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that count; zeros where none does.

    Shapes: tokens [b,n,d], mask [b,n] -> [b,d].
    """
    weight = mask.to(tokens.dtype)
    total = (tokens * weight.unsqueeze(-1)).sum(dim=-2)
    return total / weight.sum(dim=-1, keepdim=True).clamp(min=1.0)


def join_views(tokens: Tensor, view_mask: Tensor) -> tuple[Tensor, Tensor]:
    """All views' tokens in one row, with the mask of those that exist.

    Shapes: tokens [b,v,t,c], view_mask [b,v] -> [b,v·t,c], [b,v·t].
    """
    b, v, t, c = tokens.shape
    mask = view_mask.unsqueeze(-1).expand(b, v, t).reshape(b, v * t)
    return tokens.reshape(b, v * t, c), mask


def grid_positions(grid: int, width: int) -> Tensor:
    """Fixed sine and cosine positions of a grid's cells, rows first, [grid·grid, width].

    Source: Vaswani et al. 2017, section 3.5, one half of the width for each of the two axes.
    """
    n_frequencies = -(-width // 4)
    frequency = 1.0 / 100.0 ** (torch.arange(n_frequencies) / n_frequencies)
    steps = torch.arange(grid).to(torch.float32)
    angles = steps[:, None] * frequency[None, :]  # [grid, width/4]
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # [grid, width/2]
    rows = axis[:, None, :].expand(grid, grid, -1)
    columns = axis[None, :, :].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(grid * grid, -1)[:, :width].contiguous()


class CrossLayer(nn.Module):
    """One layer of bidirectional cross-attention with a learned gate per stream.

    I' = LN(I + MHA(I ← M)), M' = LN(M + MHA(M ← I)); I ← g·I' + (1 − g)·I, and M alike.

    Source: XAttn-BMD (arXiv 2511.14604), without the feed-forward part.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.image_from_clinical = Attention(width, heads)
        self.clinical_from_image = Attention(width, heads)
        self.image_norm = nn.LayerNorm(width)
        self.clinical_norm = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(2))  # logits; 0 is an even mix

    def forward(
        self, image: Tensor, image_mask: Tensor, clinical: Tensor, clinical_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Shapes: image [b,n,d], image_mask [b,n], clinical [b,k,d], clinical_mask [b,k]."""
        read_clinical = self.image_from_clinical(image, clinical, clinical_mask)
        read_image = self.clinical_from_image(clinical, image, image_mask)
        image_new = self.image_norm(image + read_clinical)
        clinical_new = self.clinical_norm(clinical + read_image)
        gate = torch.sigmoid(self.gate)
        return (
            gate[0] * image_new + (1.0 - gate[0]) * image,
            gate[1] * clinical_new + (1.0 - gate[1]) * clinical,
        )


class CrossAttentionFusion(nn.Module):
    """Image tokens and clinical tokens read each other, layer by layer, then are pooled.

    The head sees the pooled streams both raw and enhanced: [I, I_enhanced, M, M_enhanced].

    Source: XAttn-BMD (arXiv 2511.14604).
    """

    positions: Tensor

    def __init__(
        self,
        fields: Sequence[ClinicalField],
        *,
        channels: int,
        grid: int,
        width: int,
        layers: int,
        heads: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.register_buffer("positions", grid_positions(grid, width), persistent=False)
        self.clinical = ClinicalTokens(fields, width)
        self.layers = nn.ModuleList([CrossLayer(width, heads) for _ in range(layers)])
        self.head = nn.Linear(4 * width, outputs)

    def forward(self, tokens: Tensor, view_mask: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: see the module's charter."""
        image, image_mask = join_views(self.project(tokens) + self.positions, view_mask)
        clinical = self.clinical(fields, field_mask)  # [b,k,d]
        everyone = torch.ones_like(field_mask)
        raw = [masked_mean(image, image_mask), masked_mean(clinical, everyone)]
        for layer in self.layers:
            image, clinical = layer(image, image_mask, clinical, field_mask)
        enhanced = [masked_mean(image, image_mask), masked_mean(clinical, everyone)]
        output: Tensor = self.head(torch.cat([*raw, *enhanced], dim=-1))
        return output


class PooledFusion(nn.Module):
    """Mean image token beside the clinical vector, then one hidden layer or none.

    ``channels`` 0 leaves the image out, no ``fields`` leave the clinical part out, ``hidden`` 0
    makes it linear: the baselines that every fusion is reported against.
    """

    def __init__(
        self, fields: Sequence[ClinicalField], *, channels: int, hidden: int, outputs: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.design = ClinicalDesign(fields) if fields else None
        inputs = channels + (self.design.n_vector if self.design is not None else 0)
        self.inner = nn.Linear(inputs, hidden) if hidden else None
        self.head = nn.Linear(hidden or inputs, outputs)

    def forward(self, tokens: Tensor, view_mask: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Shapes: see the module's charter."""
        parts = []
        if self.channels:
            parts.append(masked_mean(*join_views(tokens, view_mask)))
        if self.design is not None:
            parts.append(self.design.vector(fields, field_mask))
        joined = torch.cat(parts, dim=-1)
        if self.inner is not None:
            joined = torch.nn.functional.gelu(self.inner(joined))
        output: Tensor = self.head(joined)
        return output
