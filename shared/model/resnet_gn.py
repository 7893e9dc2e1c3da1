"""A small ResNet with group normalisation, for training all of it: a 128-pixel film to a 4 x 4 map.

No batch statistics anywhere: a film's map, and a patient's gradient, depend on that patient alone.
Halving by strides only, whose gradients are the same in every run, which max pooling's are not on a
GPU. About 300,000 weights, because noise grows with their number. Imports torch only.
Legend: b batch · c channels · h w pixels.

Source: He et al. 2015 (arXiv 1512.03385), ten layers; Wu and He 2018 (arXiv 1803.08494).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (16, 16, 32, 64, 128)  # stem, then one block per stage
_GROUPS = 8
CHANNELS = _WIDTHS[-1]
GRID = 4


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 short cut; halves the map."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.short_norm = nn.GroupNorm(_GROUPS, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,c,h,w] -> [b,c',h/2,w/2]."""
        inner = functional.relu(self.norm1(self.conv1(image)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.short_norm(self.short(image)))


class GroupNormResNet(nn.Module):
    """Stem, four blocks, and a last normalisation that gives tokens unit variance from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.stem_norm = nn.GroupNorm(_GROUPS, _WIDTHS[0])
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs, outputs) for inputs, outputs in pairwise(_WIDTHS)
        )
        self.norm = nn.GroupNorm(_GROUPS, CHANNELS)

    def forward(self, image: Tensor) -> Tensor:
        """Feature map; a film in [0,1] is centred first.

        Shapes: image [b,1,128,128] -> [b,128,4,4].
        """
        image = functional.relu(self.stem_norm(self.stem(2.0 * image - 1.0)))
        for block in self.blocks:
            image = block(image)
        mapped: Tensor = self.norm(image)
        return mapped


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Initial weights from ``generator``: convolutions normal with variance 2/inputs.

    Source: He et al. 2015 (arXiv 1502.01852), equation 10.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                inputs = module.weight[0].numel()
                module.weight.normal_(0.0, math.sqrt(2.0 / inputs), generator=generator)
