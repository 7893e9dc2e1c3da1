"""ResNet-34 up to layer4 in torchvision's key layout: a 7 x 7 map of a 224-pixel image.

MONAI's network without its classifier. Imports torch; monai only when one is made.
Legend: b batch · h w pixels.

Source: He et al. 2015 (arXiv 1512.03385).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 512
GRID = 7


class ResNet34Map(nn.Module):
    """Frozen feature extractor: layer4's map."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets.resnet import resnet34

        # Only with these three settings does MONAI compute what torchvision computes: two
        # dimensions, no bias in the short cuts, a stem of stride 2.
        network = resnet34(spatial_dims=2, n_input_channels=3, bias_downsample=False, conv1_t_stride=2)
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.maxpool = network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,224,224] -> [b,512,7,7]."""
        image = self.maxpool(functional.relu(self.bn1(self.conv1(image))))
        mapped: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(image))))
        return mapped
