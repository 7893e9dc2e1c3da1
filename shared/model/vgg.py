"""VGG-19 without its classifier in torchvision's key layout: a 7 x 7 map of a 224-pixel image.

Imports torch only. Legend: b batch · c channels · h w pixels.

Source: Simonyan and Zisserman 2014 (arXiv 1409.1556), configuration E.
"""

from __future__ import annotations

from torch import Tensor, nn

VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # width and convolutions of each stage
STANDIN = ((8, 1), (16, 1), (32, 1), (48, 2), (64, 2))


class VggMap(nn.Module):
    """Feature extractor: 3 x 3 convolutions with ReLU, each stage halved by max pooling."""

    def __init__(self, stages: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, depth in stages:
            for _ in range(depth):
                layers += [_drawn(nn.Conv2d(inputs, width, 3, padding=1)), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,h,w] -> [b,c,h/32,w/32]."""
        mapped: Tensor = self.features(image)
        return mapped


def _drawn(layer: nn.Conv2d) -> nn.Conv2d:
    """With weights whose signal stays the same from layer to layer, which nothing else sees to here.

    Source: He et al. 2015 (arXiv 1502.01852), equation 14.
    """
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
