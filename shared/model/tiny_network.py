"""The small in-domain network: a film to an 8 x 8 map of 48 channels, in 0.7 MB of weights.

Group normalisation instead of batch normalisation: a film's map depends on that film alone. Imports
torch only. Legend: b batch · c channels · h w pixels.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 48
GRID = 8
_WIDTHS = (16, 40, 64, 96)


class Block(nn.Module):
    """3 x 3 convolution, group normalisation, GELU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,c,h,w] -> [b,c',h/stride,w/stride]."""
        return functional.gelu(self.norm(self.convolution(image)))


class TinyNetwork(nn.Module):
    """Four halvings, one more block, and a 1 x 1 convolution to ``CHANNELS``."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, *_WIDTHS)
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, stride=2) for inputs, outputs in pairwise(widths)
        )
        self.last = Block(_WIDTHS[-1], _WIDTHS[-1], stride=1)
        self.project = nn.Conv2d(_WIDTHS[-1], CHANNELS, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Feature map; a film in [0,1] is centred first.

        Shapes: image [b,1,128,128] -> [b,48,8,8].
        """
        image = 2.0 * image - 1.0
        for block in self.blocks:
            image = block(image)
        mapped: Tensor = self.project(image + self.last(image))
        return mapped
