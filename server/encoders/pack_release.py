"""Packs the encoder that a run trained, from its release, into an encoder file like any other.

A release is public once it was released; what is made of it costs no patient anything more. Its token
constants and components are measured anew on public synthetic films, never on patients. Imports the
model and the public films.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from server.encoders.pack_weights import PUBLIC_FILMS, PUBLIC_SEED
from server.encoders.pretrain import draw_films
from shared.contract.release import Release
from shared.errors import RunError
from shared.model.build import build_model
from shared.model.encoders import pack_encoder
from shared.model.end_to_end import EndToEnd
from shared.model.lora import merge_low_rank
from shared.model.weights import load_flat


def pack_release(release: Release, out: Path) -> str:
    """Write ``out`` from a release whose encoder learned: whole, its last blocks, or low-rank changes.

    Args:
        release: a verified release.
        out: encoder file to write.

    Returns:
        The file's SHA-256.

    Raises:
        RunError: the run trained no encoder.
        WeightsError: the release's weights are not its model's.
    """
    plan, settings = release.plan, release.plan.settings
    if settings.encoder.training == "frozen" or plan.training is None:
        raise RunError(
            "no-trained-encoder",
            f"encoder.training of run {plan.run} must be lora, blocks or full, not "
            f"{settings.encoder.training}",
            hint="a frozen encoder has its file already: configs/encoder names it",
        )
    model = cast(EndToEnd, build_model(settings, settings.seed, release.encoder_file))
    load_flat(model, release.weights)
    network = model.encoder.network
    merge_low_rank(network)
    films, _ = draw_films(PUBLIC_FILMS, seed=PUBLIC_SEED)
    recipe: dict[str, object] = {
        "run": plan.run,
        "release_sha256": release.sha256,
        "training": settings.encoder.training,
        "epsilon": plan.predicted.training_epsilon,
        "constants": f"{PUBLIC_FILMS} public synthetic films, seed {PUBLIC_SEED}",
    }
    name = settings.encoder.name
    return pack_encoder(name, network.state_dict(), films.float() / 255.0, out, recipe=recipe)
