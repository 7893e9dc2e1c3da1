"""A fusion that reads films instead of cached tokens, so that its encoder can learn too.

Owns ``EndToEnd`` and how a trainable encoder starts: from a local file with its hash, or drawn from a
seed. Imports encoders, low-rank layers and settings.
Legend: b patients · s film slots · h w pixels · t tokens of a film · c channels · u exams · k fields ·
o outputs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from shared.contract.model_settings import EncoderSettings
from shared.errors import SettingsError
from shared.model.encoders import Encoder, draw_encoder, load_encoder
from shared.model.lora import add_low_rank
from shared.model.partial import activation_shape, finish, last_blocks


class EndToEnd(nn.Module):
    """Encoder and fusion in one; a fusion's forward with films in place of tokens.

    Every film is encoded by itself, empty slots included, which the fusion then masks.

    Args:
        encoder: from ``start_encoder``.
        head: the fusion.
        frozen_blocks: how many first blocks never learn; if any, a film's activations after them are
            taken in place of the film, and told from it by their shape.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, *, frozen_blocks: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.frozen_blocks = frozen_blocks

    def forward(self, films: Tensor, film_exam: Tensor, fields: Tensor, field_mask: Tensor) -> Tensor:
        """Outputs of each exam.

        Shapes: films [b,s,h,w] or activations [b,s,t,d], film_exam [b,s], fields [b,u,k],
            field_mask [b,u,k] -> [b,u,o].
        """
        output: Tensor = self.head(self.tokens_of(films, film_exam), film_exam, fields, field_mask)
        return output

    def tokens_of(self, films: Tensor, film_exam: Tensor) -> Tensor:
        """What the encoder makes of each slot's film. Shapes: as ``forward`` -> [b,s,t,c]."""
        shape = (*film_exam.shape, self.encoder.grid**2, self.encoder.channel_mean.shape[0])
        if not film_exam.numel():
            return films.new_zeros(shape)
        # Fused attention kernels have no rule for one gradient per patient (vmap), and no fixed order
        # of summation on a GPU.
        with sdpa_kernel(SDPBackend.MATH):
            return self._encode(films.reshape(-1, *films.shape[-2:])).reshape(shape)

    def _encode(self, films: Tensor) -> Tensor:
        """Films [n,h,w] or activations [n,t,d] to tokens."""
        if self.frozen_blocks and films.shape[1:] == activation_shape(self.encoder):
            return finish(self.encoder, films, blocks=self.frozen_blocks)
        tokens: Tensor = self.encoder(films.unsqueeze(1))
        return tokens


def start_encoder(settings: EncoderSettings, file: Path | None, generator: torch.Generator) -> Encoder:
    """An encoder whose trainable tensors are those of ``settings.training``: lora, blocks or full.

    Args:
        settings: names network, training and file.
        file: this machine's copy of the encoder file; None only where the plan names none.
        generator: draws what no file holds.

    Raises:
        SettingsError: the plan names a file and none is given: nothing may start from other weights.
        WeightsError: the file is not the plan's.
    """
    if not settings.sha256:
        encoder = draw_encoder(settings, generator)
    elif file is None:
        raise SettingsError(
            "no-encoder-file",
            f"encoder.training {settings.training} starts from the plan's file, and none was given",
            hint="name the file that encoder.sha256 stands for",
        )
    else:
        encoder = load_encoder(settings, file)
    if settings.training == "lora":
        add_low_rank(
            last_blocks(encoder, settings),
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            generator=generator,
            trains_down=settings.lora_trains == "both",
        )
    else:
        last_blocks(encoder, settings).requires_grad_(True)
    return encoder
