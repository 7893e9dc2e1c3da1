"""Which blocks of a transformer learn, and what its frozen blocks make of a film.

Below the first block that learns, a film's activations are the same in every step: a hospital computes
them once, and the model takes them in place of the film. Owns where a transformer is cut. Imports
encoders, settings and the transformer.
Legend: n films · h w pixels · t tokens of a film, class token included · d width.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from shared.contract.model_settings import EncoderSettings
from shared.errors import SettingsError
from shared.model.encoders import Encoder, by_batches
from shared.model.vision_transformer import VisionTransformer


def transformer_of(encoder: Encoder) -> VisionTransformer:
    """The encoder's network, which settings have required to be a transformer."""
    return cast(VisionTransformer, encoder.network)


def count_frozen(encoder: Encoder, settings: EncoderSettings) -> int:
    """Blocks before the first that learns; 0 where all do.

    Raises:
        SettingsError: ``no-such-block``: the network has fewer blocks than are to learn.
    """
    if not settings.trained_blocks:
        return 0
    depth = len(transformer_of(encoder).blocks)
    if settings.trained_blocks > depth:
        raise SettingsError(
            "no-such-block",
            f"encoder.trained_blocks must be 0 to {depth} with {settings.name}, "
            f"not {settings.trained_blocks}",
            hint="0 trains all of them",
        )
    return depth - settings.trained_blocks


def last_blocks(encoder: Encoder, settings: EncoderSettings) -> nn.Module:
    """The part of the network that learns: its last blocks, or all of it."""
    frozen = count_frozen(encoder, settings)
    return transformer_of(encoder).blocks[frozen:] if settings.trained_blocks else encoder.network


def activation_shape(encoder: Encoder) -> tuple[int, int]:
    """[t,d] of a film's activations."""
    size = transformer_of(encoder).size
    return 1 + size.grid**2, size.width


def activate(encoder: Encoder, films: Tensor, *, blocks: int) -> Tensor:
    """What the first ``blocks`` blocks make of films, each by itself, [n,1,h,w] -> [n,t,d] float32."""
    start = partial(transformer_of(encoder).start, blocks=blocks)
    nothing = torch.zeros(0, *activation_shape(encoder))
    device = encoder.scale.device
    return by_batches(
        lambda piece: start(encoder.image_of(piece)), films, nothing=nothing, device=device
    )


def finish(encoder: Encoder, activations: Tensor, *, blocks: int) -> Tensor:
    """Standardised tokens of a film from its activations, [b,t,d] -> [b,t',c]."""
    return encoder.standardise(transformer_of(encoder).finish(activations, blocks=blocks))
