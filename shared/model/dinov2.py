"""DINOv2 ViT-S/14 in its published layout: 16 x 16 patch tokens of a 224-pixel image.

Own code, so that strict loading of the published keys is the whole contract. Imports torch only.
Legend: b batch · t tokens (class token first) · d width · a heads.

Source: Oquab et al. 2023 (arXiv 2304.07193); Dosovitskiy et al. 2020 (arXiv 2010.11929).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 384
DEPTH = 12
HEADS = 6
PATCH = 14
GRID = 16
TRAINED_GRID = 37  # the published position embedding: 518 pixels in patches of 14
_EPS = 1e-6


class SelfAttention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,t,d] -> [b,t,d]."""
        b, t, d = tokens.shape
        joint = self.qkv(tokens).reshape(b, t, 3, self.heads, d // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)  # each [b,a,t,d/a]
        mixed = functional.scaled_dot_product_attention(query, key, value)
        attended: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, t, d))
        return attended


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,t,d] -> [b,t,d]."""
        return tokens * self.gamma


class Mlp(nn.Module):
    """Two layers with an exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,t,d] -> [b,t,d]."""
        hidden: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return hidden


class Block(nn.Module):
    """Pre-norm attention and MLP, each with its layer scale."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = SelfAttention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,t,d] -> [b,t,d]."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        moved: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return moved


class PatchEmbedding(nn.Module):
    """Non-overlapping patches as one strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,3,224,224] -> [b,256,d]."""
        patches: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return patches


class DinoV2Small(nn.Module):
    """Frozen feature extractor: the normalised patch tokens as a map, class token left out."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, WIDTH))
        self.patch_embed = PatchEmbedding(WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=_EPS)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,224,224] -> [b,384,16,16]."""
        patches = self.patch_embed(image)  # [b,256,d]
        start = self.cls_token.expand(image.shape[0], 1, WIDTH)
        tokens = torch.cat([start, patches], dim=1) + self._positions()
        for block in self.blocks:
            tokens = block(tokens)
        kept: Tensor = self.norm(tokens)[:, 1:]
        return kept.transpose(1, 2).reshape(-1, WIDTH, GRID, GRID)

    def _positions(self) -> Tensor:
        """Position embedding resized from its trained grid, [1,257,d]."""
        grid = self.pos_embed[:, 1:].reshape(1, TRAINED_GRID, TRAINED_GRID, WIDTH)
        resized = functional.interpolate(
            grid.permute(0, 3, 1, 2), size=(GRID, GRID), mode="bicubic", align_corners=False
        )
        cells = resized.permute(0, 2, 3, 1).reshape(1, GRID * GRID, WIDTH)
        return torch.cat([self.pos_embed[:, :1], cells], dim=1)
