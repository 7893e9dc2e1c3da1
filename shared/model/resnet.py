"""ResNets up to layer4 in torchvision's key layout: a 7 x 7 map of a 224-pixel image.

MONAI's networks without their classifier. Imports torch; monai only when one is made.
Legend: b batch · c channels · h w pixels.

Source: He et al. 2015 (arXiv 1512.03385).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ResNetSize:
    """What tells one ResNet from another: its block, and depth and width of its four layers."""

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)

    @property
    def channels(self) -> int:
        """Of the map: a bottleneck widens fourfold."""
        return self.widths[-1] * (4 if self.block == "bottleneck" else 1)


RESNET34 = ResNetSize("basic", (3, 4, 6, 3))
RESNET50 = ResNetSize("bottleneck", (3, 4, 6, 3))
STANDIN = ResNetSize("bottleneck", (1, 1, 1, 1), (12, 16, 24, 32))


class ResNetMap(nn.Module):
    """Feature extractor: layer4's map."""

    def __init__(self, size: ResNetSize) -> None:
        super().__init__()
        from monai.networks.nets.resnet import ResNet

        # Only with these three settings does MONAI compute what torchvision computes: two
        # dimensions, no bias in the short cuts, a stem of stride 2.
        network = ResNet(
            block=size.block,
            layers=list(size.depths),
            block_inplanes=list(size.widths),
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_stride=2,
            bias_downsample=False,
        )
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.maxpool = network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,h,w] -> [b,c,h/32,w/32]."""
        image = self.maxpool(functional.relu(self.bn1(self.conv1(image))))
        mapped: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(image))))
        return mapped


def name_in_radimagenet(name: str) -> str:
    """RadImageNet's name of one of this network's tensors: torchvision's children by their number.

    ``conv1.weight`` is ``backbone.0.weight`` there; 2 and 3 are the activation and the pooling.
    """
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    child, rest = name.split(".", 1)
    return f"backbone.{numbers[child]}.{rest}"
