"""Vision transformers in their published layouts: patch tokens of a square image as a map.

DINOv2 S and B of 14-pixel patches, ViT-S of 16, and the narrow stand-in are sizes of one network. Own
code, so that strict loading of the published keys is the whole contract. Imports torch only.
Legend: b batch · t tokens (class token first) · d width · a heads · g cells along a side.

Source: Dosovitskiy et al. 2020 (arXiv 2010.11929); Oquab et al. 2023 (arXiv 2304.07193).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-6


@dataclass(frozen=True)
class TransformerSize:
    """What tells one vision transformer from another.

    ``grid``: cells along a side of the image that it is given. ``trained_grid``: those of its position
    embedding, which is resized where the two differ. ``has_layer_scale``: a factor per channel after
    each half of a block.
    """

    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    trained_grid: int
    has_layer_scale: bool

    @property
    def pixels(self) -> int:
        """Edge of the image."""
        return self.grid * self.patch


# 518 pixels in patches of 14 are 37 cells; a film is given 224.
DINOV2_S = TransformerSize(384, 12, 6, 14, 16, 37, has_layer_scale=True)
DINOV2_B = TransformerSize(768, 12, 12, 14, 16, 37, has_layer_scale=True)
VIT_S = TransformerSize(384, 12, 6, 16, 14, 14, has_layer_scale=False)
STANDIN = TransformerSize(64, 3, 4, 16, 8, 8, has_layer_scale=True)


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
    """Pre-norm attention and MLP, each with its layer scale where the network has one."""

    def __init__(self, width: int, heads: int, *, has_layer_scale: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = SelfAttention(width, heads)
        self.ls1 = LayerScale(width) if has_layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width) if has_layer_scale else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: [b,t,d] -> [b,t,d]."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        moved: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return moved


class PatchEmbedding(nn.Module):
    """Non-overlapping patches as one strided convolution."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,3,g·patch,g·patch] -> [b,g²,d]."""
        patches: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return patches


class VisionTransformer(nn.Module):
    """Feature extractor: the normalised patch tokens as a map, class token left out."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + size.trained_grid**2, size.width))
        self.patch_embed = PatchEmbedding(size.width, size.patch)
        self.blocks = nn.ModuleList(
            Block(size.width, size.heads, has_layer_scale=size.has_layer_scale)
            for _ in range(size.depth)
        )
        self.norm = nn.LayerNorm(size.width, eps=_EPS)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,g·patch,g·patch] -> [b,d,g,g]."""
        return self.finish(self.start(image, blocks=0), blocks=0)

    def start(self, image: Tensor, *, blocks: int) -> Tensor:
        """Tokens after the first ``blocks`` blocks, [b,3,g·patch,g·patch] -> [b,1+g²,d]."""
        patches = self.patch_embed(image)  # [b,g²,d]
        first = self.cls_token.expand(image.shape[0], 1, self.size.width)
        tokens: Tensor = torch.cat([first, patches], dim=1) + self._positions()
        for block in self.blocks[:blocks]:
            tokens = block(tokens)
        return tokens

    def finish(self, tokens: Tensor, *, blocks: int) -> Tensor:
        """The map of tokens that the first ``blocks`` blocks have made, [b,1+g²,d] -> [b,d,g,g]."""
        width, grid = self.size.width, self.size.grid
        for block in self.blocks[blocks:]:
            tokens = block(tokens)
        kept: Tensor = self.norm(tokens)[:, 1:]
        return kept.transpose(1, 2).reshape(-1, width, grid, grid)

    def _positions(self) -> Tensor:
        """Position embedding, resized from its trained grid where the image has another, [1,1+g²,d]."""
        width, grid, trained = self.size.width, self.size.grid, self.size.trained_grid
        if grid == trained:
            return self.pos_embed
        mapped = self.pos_embed[:, 1:].reshape(1, trained, trained, width).permute(0, 3, 1, 2)
        resized = functional.interpolate(mapped, size=(grid, grid), mode="bicubic", align_corners=False)
        cells = resized.permute(0, 2, 3, 1).reshape(1, grid * grid, width)
        return torch.cat([self.pos_embed[:, :1], cells], dim=1)
