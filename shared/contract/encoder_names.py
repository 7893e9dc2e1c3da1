"""Names of encoders without their networks, for settings and for the help of commands. Imports nothing.

What a name stands for is a row of ``shared.model.architectures``, which imports torch.
"""

from __future__ import annotations

from typing import Literal

# Packed from a checkpoint of somebody else.
Published = Literal[
    "vgg19",
    "inception_v3",
    "resnet34",
    "resnet50",
    "densenet121",
    "dinov2_s",
    "dinov2_b",
    "vit_s",
    "efficientnet_lite0",
]
# Taught on public synthetic films by ``pretrain``.
Taught = Literal[
    "tiny",
    "standin_vgg",
    "standin_inception",
    "standin_resnet",
    "standin_densenet",
    "standin_vit",
]
# ``resnet_gn`` starts from a run's seed; ``none`` reads no film.
EncoderName = Literal["none", "resnet_gn", Taught, Published]
