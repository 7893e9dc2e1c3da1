"""DenseNet-121 up to its last normalisation: a 7 x 7 map of a 224-pixel image.

MONAI's network without its classifier, whose names differ from torchvision's by ``.layers.`` alone.
Imports torch; monai only when one is made. Legend: b batch · c channels · h w pixels.

Source: Huang et al. 2016 (arXiv 1608.06993).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class DenseNetSize:
    """What tells one DenseNet from another: stem channels, what a layer adds, layers per block."""

    stem: int
    growth: int
    depths: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Of the map: each layer adds ``growth``, each transition halves."""
        width = self.stem
        for index, depth in enumerate(self.depths):
            width = (width // 2 if index else width) + depth * self.growth
        return width


DENSENET121 = DenseNetSize(64, 32, (6, 12, 24, 16))
STANDIN = DenseNetSize(16, 8, (3, 4, 6, 4))


class DenseNetMap(nn.Module):
    """Feature extractor: the last block's map, normalised and rectified."""

    def __init__(self, size: DenseNetSize) -> None:
        super().__init__()
        from monai.networks.nets.densenet import DenseNet

        network = DenseNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=1,
            init_features=size.stem,
            growth_rate=size.growth,
            block_config=size.depths,
        )
        self.features = network.features

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,h,w] -> [b,c,h/32,w/32]."""
        return functional.relu(self.features(image))


def name_in_torchvision(name: str) -> str:
    """torchvision's name of one of this network's tensors."""
    return name.replace(".layers.", ".")


def name_in_torchvision_file(name: str) -> str:
    """The name in the file that torchvision downloads, mended as it reads: ``norm.1`` is ``norm1``."""
    return re.sub(r"\.layers\.(norm|conv)([12])\.", r".\1.\2.", name)
