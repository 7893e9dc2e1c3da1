"""The table of encoders: which network a name stands for, what it is given, whose files it takes.

A new encoder is a row here, its name in ``shared.contract.encoder_names`` and a YAML. Imports the
networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import nn

from shared.model import densenet, efficientnet, inception, resnet, resnet_gn, tiny_network, vgg
from shared.model import vision_transformer as vit
from shared.model.layouts import PublishedLayout
from shared.model.vision_transformer import VisionTransformer

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class PublicImage:
    """The input of a network of colour images: a square of ``pixels``, standardised per channel."""

    pixels: int
    mean: Rgb = (0.485, 0.456, 0.406)  # ImageNet's channel statistics
    sd: Rgb = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """What a name stands for.

    ``layout``: of the packed file. ``channels`` and ``grid``: the shape of its map. ``image``: None
    where it takes a film as it is. ``published``: layouts of checkpoints that can be packed, by name.
    """

    layout: str
    channels: int
    grid: int
    make: Callable[[], nn.Module]
    image: PublicImage | None = None
    published: Mapping[str, PublishedLayout] = field(default_factory=dict)


def _layer(*names: str) -> frozenset[str]:
    """Weight and bias of layers."""
    return frozenset(f"{name}.{part}" for name in names for part in ("weight", "bias"))


_FC = _layer("fc")
_TORCHVISION = {"torchvision": PublishedLayout(unused=_FC)}
_NORMALISED = ("weight", "bias", "running_mean", "running_var")
_INCEPTION_UNUSED = (
    _layer("fc", "AuxLogits.fc")
    | {f"AuxLogits.conv{index}.conv.weight" for index in (0, 1)}
    | {f"AuxLogits.conv{index}.bn.{part}" for index in (0, 1) for part in _NORMALISED}
)
_HALF = (0.5, 0.5, 0.5)
_DINOV2 = {"dinov2": PublishedLayout(unused=frozenset({"mask_token"}))}
_OF_224 = PublicImage(224)
_OF_128 = PublicImage(128)  # stand-ins see a film at its own size

ARCHITECTURES: dict[str, Architecture] = {
    "tiny": Architecture(
        "osteofed-tiny-1", tiny_network.CHANNELS, tiny_network.GRID, tiny_network.TinyNetwork
    ),
    "resnet_gn": Architecture(
        "osteofed-resnet-gn-1", resnet_gn.CHANNELS, resnet_gn.GRID, resnet_gn.GroupNormResNet
    ),
    "vgg19": Architecture(
        "torchvision-vgg19",
        512,
        7,
        partial(vgg.VggMap, vgg.VGG19),
        _OF_224,
        {"torchvision": PublishedLayout(unused=_layer("classifier.0", "classifier.3", "classifier.6"))},
    ),
    # torchvision's published weights have these statistics built in (transform_input).
    "inception_v3": Architecture(
        "torchvision-inception_v3",
        2048,
        8,
        inception.InceptionV3Map,
        PublicImage(299, _HALF, _HALF),
        {"torchvision": PublishedLayout(unused=_INCEPTION_UNUSED)},
    ),
    "resnet34": Architecture(
        "torchvision-resnet34",
        resnet.RESNET34.channels,
        7,
        partial(resnet.ResNetMap, resnet.RESNET34),
        _OF_224,
        _TORCHVISION,
    ),
    "resnet50": Architecture(
        "torchvision-resnet50",
        resnet.RESNET50.channels,
        7,
        partial(resnet.ResNetMap, resnet.RESNET50),
        _OF_224,
        _TORCHVISION | {"radimagenet-torch": PublishedLayout(resnet.name_in_radimagenet, _FC)},
    ),
    "densenet121": Architecture(
        "monai-densenet121",
        densenet.DENSENET121.channels,
        7,
        partial(densenet.DenseNetMap, densenet.DENSENET121),
        _OF_224,
        {
            "torchvision": PublishedLayout(densenet.name_in_torchvision, _layer("classifier")),
            "torchvision-file": PublishedLayout(
                densenet.name_in_torchvision_file, _layer("classifier")
            ),
        },
    ),
    "dinov2_s": Architecture(
        "dinov2-vits14",
        vit.DINOV2_S.width,
        vit.DINOV2_S.grid,
        partial(VisionTransformer, vit.DINOV2_S),
        PublicImage(vit.DINOV2_S.pixels),
        _DINOV2,
    ),
    "dinov2_b": Architecture(
        "dinov2-vitb14",
        vit.DINOV2_B.width,
        vit.DINOV2_B.grid,
        partial(VisionTransformer, vit.DINOV2_B),
        PublicImage(vit.DINOV2_B.pixels),
        _DINOV2,
    ),
    "vit_s": Architecture(
        "timm-vit_small_patch16_224",
        vit.VIT_S.width,
        vit.VIT_S.grid,
        partial(VisionTransformer, vit.VIT_S),
        PublicImage(vit.VIT_S.pixels, _HALF, _HALF),
        {"timm-vit": PublishedLayout(unused=_layer("head"))},
    ),
    # 127 and 128 of 255: the statistics of the TensorFlow weights that the package converted.
    "efficientnet_lite0": Architecture(
        "efficientnet-lite0",
        efficientnet.CHANNELS,
        7,
        efficientnet.EfficientNetLite0,
        PublicImage(224, (127 / 255,) * 3, (128 / 255,) * 3),
        {"efficientnet-lite0": PublishedLayout(unused=_layer("_fc"))},
    ),
    "standin_vgg": Architecture(
        "osteofed-standin-vgg-1", vgg.STANDIN[-1][0], 4, partial(vgg.VggMap, vgg.STANDIN), _OF_128
    ),
    "standin_inception": Architecture(
        "osteofed-standin-inception-1",
        256,
        4,
        partial(inception.InceptionV3Map, inception.STANDIN_BLOCKS, narrow=inception.STANDIN_NARROW),
        PublicImage(171, _HALF, _HALF),  # the smallest whose map is 4 x 4
    ),
    "standin_resnet": Architecture(
        "osteofed-standin-resnet-1",
        resnet.STANDIN.channels,
        4,
        partial(resnet.ResNetMap, resnet.STANDIN),
        _OF_128,
    ),
    "standin_densenet": Architecture(
        "osteofed-standin-densenet-1",
        densenet.STANDIN.channels,
        4,
        partial(densenet.DenseNetMap, densenet.STANDIN),
        _OF_128,
    ),
    "standin_vit": Architecture(
        "osteofed-standin-vit-1",
        vit.STANDIN.width,
        vit.STANDIN.grid,
        partial(VisionTransformer, vit.STANDIN),
        PublicImage(vit.STANDIN.pixels),
    ),
}
