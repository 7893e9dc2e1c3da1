"""InceptionV3 without its classifiers in torchvision's key layout: an 8 x 8 map of a 299-pixel image.

Each block is a row of a table: branches side by side, whose outputs are joined. Imports torch only.
Legend: b batch · c channels · h w pixels.

Source: Szegedy et al. 2015 (arXiv 1512.00567); names and the blocks' order as torchvision's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-3


class Layer(NamedTuple):
    """A convolution, by its published name; padded to keep the size unless ``is_cut``."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    is_cut: bool = False


class Branch(NamedTuple):
    """Pooling, layers one after another, then perhaps several beside each other on their output."""

    layers: tuple[Layer, ...] = ()
    pool: str = ""
    split: tuple[Layer, ...] = ()


STEM = (
    Layer("Conv2d_1a_3x3", 32, (3, 3), 2, is_cut=True),
    Layer("Conv2d_2a_3x3", 32, (3, 3), is_cut=True),
    Layer("Conv2d_2b_3x3", 64, (3, 3)),
    Layer("Conv2d_3b_1x1", 80),
    Layer("Conv2d_4a_3x3", 192, (3, 3), is_cut=True),
)
POOLED_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")


def _fine(pooled: int) -> tuple[Branch, ...]:
    """A block on the 35 x 35 map; ``pooled``: width of its pooled branch."""
    return (
        Branch((Layer("branch1x1", 64),)),
        Branch((Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5)))),
        Branch(
            (
                Layer("branch3x3dbl_1", 64),
                Layer("branch3x3dbl_2", 96, (3, 3)),
                Layer("branch3x3dbl_3", 96, (3, 3)),
            )
        ),
        Branch((Layer("branch_pool", pooled),), pool="mean"),
    )


def _middle(inner: int) -> tuple[Branch, ...]:
    """A block on the 17 x 17 map; ``inner``: width inside its factorised 7 x 7 convolutions."""
    row, column = (1, 7), (7, 1)
    return (
        Branch((Layer("branch1x1", 192),)),
        Branch(
            (
                Layer("branch7x7_1", inner),
                Layer("branch7x7_2", inner, row),
                Layer("branch7x7_3", 192, column),
            )
        ),
        Branch(
            (
                Layer("branch7x7dbl_1", inner),
                Layer("branch7x7dbl_2", inner, column),
                Layer("branch7x7dbl_3", inner, row),
                Layer("branch7x7dbl_4", inner, column),
                Layer("branch7x7dbl_5", 192, row),
            )
        ),
        Branch((Layer("branch_pool", 192),), pool="mean"),
    )


_COARSE = (
    Branch((Layer("branch1x1", 320),)),
    Branch(
        (Layer("branch3x3_1", 384),),
        split=(Layer("branch3x3_2a", 384, (1, 3)), Layer("branch3x3_2b", 384, (3, 1))),
    ),
    Branch(
        (Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, (3, 3))),
        split=(Layer("branch3x3dbl_3a", 384, (1, 3)), Layer("branch3x3dbl_3b", 384, (3, 1))),
    ),
    Branch((Layer("branch_pool", 192),), pool="mean"),
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _fine(32),
    "Mixed_5c": _fine(64),
    "Mixed_5d": _fine(64),
    "Mixed_6a": (
        Branch((Layer("branch3x3", 384, (3, 3), 2, is_cut=True),)),
        Branch(
            (
                Layer("branch3x3dbl_1", 64),
                Layer("branch3x3dbl_2", 96, (3, 3)),
                Layer("branch3x3dbl_3", 96, (3, 3), 2, is_cut=True),
            )
        ),
        Branch(pool="max"),
    ),
    "Mixed_6b": _middle(128),
    "Mixed_6c": _middle(160),
    "Mixed_6d": _middle(160),
    "Mixed_6e": _middle(192),
    "Mixed_7a": (
        Branch((Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, (3, 3), 2, is_cut=True))),
        Branch(
            (
                Layer("branch7x7x3_1", 192),
                Layer("branch7x7x3_2", 192, (1, 7)),
                Layer("branch7x7x3_3", 192, (7, 1)),
                Layer("branch7x7x3_4", 192, (3, 3), 2, is_cut=True),
            )
        ),
        Branch(pool="max"),
    ),
    "Mixed_7b": _COARSE,
    "Mixed_7c": _COARSE,
}
STANDIN_BLOCKS = ("Mixed_5b", "Mixed_6a", "Mixed_6b", "Mixed_7a", "Mixed_7b")  # one of each kind
STANDIN_NARROW = 8


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, layer: Layer, outputs: int) -> None:
        super().__init__()
        padding = (0, 0) if layer.is_cut else (layer.kernel[0] // 2, layer.kernel[1] // 2)
        self.conv = nn.Conv2d(
            inputs, outputs, layer.kernel, stride=layer.stride, padding=padding, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs, eps=_EPS)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,c,h,w] -> [b,c',h',w']."""
        return functional.relu(self.bn(self.conv(image)))


class InceptionBlock(nn.Module):
    """Branches on one map, joined along its channels."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...], *, narrow: int) -> None:
        super().__init__()
        self.branches = branches
        self.outputs = 0
        for branch in branches:
            width = inputs
            for layer in branch.layers:
                self.add_module(layer.name, Convolution(width, layer, layer.outputs // narrow))
                width = layer.outputs // narrow
            for layer in branch.split:
                self.add_module(layer.name, Convolution(width, layer, layer.outputs // narrow))
            self.outputs += sum(each.outputs // narrow for each in branch.split) or width

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,c,h,w] -> [b,c',h',w']."""
        joined: list[Tensor] = []
        for branch in self.branches:
            mapped = _POOLS[branch.pool](image)
            for layer in branch.layers:
                mapped = self.get_submodule(layer.name)(mapped)
            joined += [self.get_submodule(each.name)(mapped) for each in branch.split] or [mapped]
        return torch.cat(joined, dim=1)


class InceptionV3Map(nn.Module):
    """Feature extractor: the last block's map.

    Args:
        blocks: names of those in use, in order.
        narrow: every width is divided by it.
    """

    def __init__(self, blocks: tuple[str, ...] = tuple(BLOCKS), *, narrow: int = 1) -> None:
        super().__init__()
        width = 3
        for layer in STEM:
            self.add_module(layer.name, Convolution(width, layer, layer.outputs // narrow))
            width = layer.outputs // narrow
        self.blocks = blocks
        for name in blocks:
            block = InceptionBlock(width, BLOCKS[name], narrow=narrow)
            self.add_module(name, block)
            width = block.outputs

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,299,299] -> [b,2048,8,8]."""
        for layer in STEM:
            image = self.get_submodule(layer.name)(image)
            if layer.name in POOLED_AFTER:
                image = functional.max_pool2d(image, 3, stride=2)
        for name in self.blocks:
            image = self.get_submodule(name)(image)
        return image


def _keep(image: Tensor) -> Tensor:
    return image


def _mean(image: Tensor) -> Tensor:
    return functional.avg_pool2d(image, 3, stride=1, padding=1)


def _largest(image: Tensor) -> Tensor:
    return functional.max_pool2d(image, 3, stride=2)


_POOLS = {"": _keep, "mean": _mean, "max": _largest}
