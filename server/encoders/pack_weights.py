"""Packs a checkpoint from this machine into an encoder file: strict layout, public constants, probe.

Checkpoints are read without running code in them. Token constants are measured on public synthetic
films, never on patients. Imports the encoders and the public films.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from server.encoders.pretrain import draw_films
from shared.errors import WeightsError
from shared.model.architectures import ARCHITECTURES
from shared.model.encoders import find_layout, pack_encoder
from shared.model.weights import read_weights
from shared.signing.canonical import hash_file

PUBLIC_FILMS, PUBLIC_SEED = 256, 20_242


def pack_checkpoint(checkpoint: Path, out: Path, *, encoder: str, layout: str | None = None) -> str:
    """Write ``out`` from a checkpoint in one of the architecture's published layouts.

    Args:
        checkpoint: ``.safetensors``, or a state dict saved by ``torch.save``.
        out: encoder file to write.
        encoder: an architecture that others publish.
        layout: whose names the checkpoint has; None: the first that the architecture's row lists.

    Returns:
        The file's SHA-256, for ``encoder.sha256``.

    Raises:
        WeightsError: unreadable, or not this layout; nothing is written.
    """
    named = layout or next(iter(ARCHITECTURES[encoder].published))
    find_layout(encoder, named)  # refused before films are drawn
    state = _read_state(checkpoint)
    films, _ = draw_films(PUBLIC_FILMS, seed=PUBLIC_SEED)
    recipe: dict[str, object] = {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": hash_file(checkpoint),
        "layout": named,
        "constants": f"{PUBLIC_FILMS} public synthetic films, seed {PUBLIC_SEED}",
    }
    return pack_encoder(encoder, state, films.float() / 255.0, out, recipe=recipe, layout=named)


def _read_state(checkpoint: Path) -> dict[str, Tensor]:
    if checkpoint.suffix == ".safetensors":
        return read_weights(checkpoint, sha256=None)[0]
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return {str(name): tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # noqa: BLE001 - torch raises many kinds for a file that is none
        raise WeightsError(
            "unreadable-checkpoint",
            f"{checkpoint.name} holds no state dict that can be read safely: {type(error).__name__}",
            hint="save it with safetensors.torch.save_file, or torch.save(model.state_dict())",
        ) from None
