"""Pretrains small encoders on public synthetic films, once, at the coordinator.

The default, and a stand-in for each family of published networks: the same code with narrow layers, so
that every path runs where no published file is at hand. They learn physical quantities (cortical
thickness, trabecular share, texture exponent) of hips from widely varied scanners, or the heights of
vertebrae. Neither BMD nor anything of a patient is an input or a target here: whatever predicts BMD
later was learned from the hospitals. Owns the recipe that the weights file carries.
Legend: n films · h w pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from server.encoders.prepared import hip_schema, see_film
from server.encoders.public_vertebrae import HEIGHTS, draw_vertebrae
from server.synthetic.look import FilmLook
from server.synthetic.physics import Film, draw_public_film
from shared.contract.encoder_names import Taught
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.model.architectures import ARCHITECTURES, Architecture
from shared.model.encoders import colour, pack_encoder
from shared.train.device import one_thread

QUANTITIES = ("cortical_mm", "trabecular_share", "texture_exponent")
PIXELS = 128
BATCH = 50
WEIGHT_DECAY = 1e-4
N_CONSTANT_FILMS = 1_000
RECIPE_VERSION = 2  # 2: worn films of any field, seen through a window

Progress = Callable[[str, int, int], None]
Subject = Literal["hips", "vertebrae"]
Draw = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Lesson:
    """How one network is taught: public films, passes over them, learning rate at the peak; what the
    films show; and the architecture, where it is not called as the encoder."""

    n_films: int = 3_000
    epochs: int = 6
    learning_rate: float = 2e-3
    subject: Subject = "hips"
    network: str = ""


_OTHER_LESSONS = {
    "tiny": Lesson(n_films=10_500),
    "standin_vit": Lesson(epochs=30, learning_rate=1e-3),  # six passes left .63 of a variance unread
    # six of each public spine
    "standin_resnet_spine": Lesson(n_films=1_500, subject="vertebrae", network="standin_resnet"),
}
LESSONS = {name: Lesson() for name in get_args(Taught)} | _OTHER_LESSONS


def pretrain(
    out_path: Path,
    *,
    seed: int,
    encoder: str = "tiny",
    n_films: int | None = None,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Train a small encoder and write its weights file.

    Args:
        out_path: safetensors file to write.
        seed: draws films and initial weights; the recipe keeps it.
        encoder: one of ``LESSONS``.
        n_films: public films, ≥ ``BATCH``; None: as its lesson says.
        epochs: passes over them; None: as its lesson says.
        progress: called with what is being done, how much is done, and of how much.

    Returns:
        the file's SHA-256.
    """
    own = LESSONS[encoder]
    lesson = replace(own, n_films=n_films or own.n_films, epochs=epochs or own.epochs)
    network_name, (supervision, draw) = lesson.network or encoder, SUBJECTS[lesson.subject]
    films, quantities = draw(lesson.n_films, seed=seed, progress=progress)
    with one_thread():  # sums come in one order, so equal seeds give an equal file
        network, loss = fit_network(
            network_name, films, quantities, seed=seed, lesson=lesson, progress=progress
        )
    recipe: dict[str, object] = {
        "version": RECIPE_VERSION,
        "supervision": list(supervision),
        "films": lesson.n_films,
        "seed": seed,
        "epochs": lesson.epochs,
        "batch": BATCH,
        "learning_rate": lesson.learning_rate,
        "preprocessing": PREPROCESSING_VERSION,
        "pixels": PIXELS,
        "final_loss": round(loss, 4),
    }
    constant_films = films[:N_CONSTANT_FILMS].float() / 255.0
    return pack_encoder(network_name, network.state_dict(), constant_films, out_path, recipe=recipe)


def draw_films(n_films: int, *, seed: int, progress: Progress | None = None) -> tuple[Tensor, Tensor]:
    """Normalised public films and their standardised physical quantities.

    Shapes: films [n,1,128,128] uint8 (255 = 1.0), quantities [n,3].
    """
    rng = np.random.default_rng(seed)
    films = torch.empty(n_films, 1, PIXELS, PIXELS, dtype=torch.uint8)
    quantities = torch.empty(n_films, len(QUANTITIES))
    for index in range(n_films):
        film = draw_public_film(rng, is_usual=True)  # one hip fills what the encoder reads
        films[index, 0] = torch.from_numpy(_grey_bytes(film, rng))
        quantities[index] = torch.tensor([getattr(film, name) for name in QUANTITIES])
        if progress is not None and (index + 1) % 100 == 0:
            progress("drawing public films", index + 1, n_films)
    mean, deviation = quantities.mean(dim=0), quantities.std(dim=0)
    return films, (quantities - mean) / deviation


SUBJECTS: Mapping[Subject, tuple[tuple[str, ...], Draw]] = {
    "hips": (QUANTITIES, draw_films),
    "vertebrae": (HEIGHTS, partial(draw_vertebrae, pixels=PIXELS)),
}


def fit_network(
    name: str,
    films: Tensor,
    quantities: Tensor,
    *,
    seed: int,
    lesson: Lesson,
    progress: Progress | None = None,
) -> tuple[nn.Module, float]:
    """Train network and a linear read-out of its mean token; the read-out is thrown away.

    Adam with a learning rate that rises over the first tenth and then falls to zero along a cosine.

    Shapes: films [n,1,h,w] uint8, quantities [n,q].

    Returns:
        the network, in evaluation mode, and the mean squared error of its last epoch, in SD².
    """
    torch.manual_seed(seed)  # the layers' own initial draws take no generator
    order = torch.Generator().manual_seed(seed)
    shape = ARCHITECTURES[name]
    network = draw_network(shape)
    readout = nn.Linear(shape.channels, quantities.shape[1])
    weights = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=lesson.learning_rate, weight_decay=WEIGHT_DECAY)
    n_steps = lesson.epochs * (len(films) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step / n_steps))
    recent = 0.0
    for epoch in range(lesson.epochs):
        recent = 0.0
        rows = torch.randperm(len(films), generator=order)[: len(films) // BATCH * BATCH]
        for step, chosen in enumerate(torch.split(rows, BATCH)):
            batch = films[chosen].float() / 255.0
            if torch.rand((), generator=order) < 0.5:
                batch = batch.flip(-1)
            pooled = network(batch if shape.image is None else colour(batch, shape.image))
            pooled = pooled.mean(dim=(2, 3))  # [b,c]
            loss = functional.mse_loss(readout(pooled), quantities[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            recent += (float(loss.detach()) - recent) / (step + 1)
        if progress is not None:
            progress(f"training, error {recent:.3f} SD²", epoch + 1, lesson.epochs)
    return network.eval(), recent


def draw_network(shape: Architecture) -> nn.Module:
    """A network with its layers' own initial draws; embeddings that a file would fill are drawn small.

    Source: σ = .02 as Dosovitskiy et al. 2020.
    """
    network = shape.make()
    for name, weight in network.named_parameters():
        if name in ("cls_token", "pos_embed"):
            nn.init.normal_(weight, std=0.02)
    return network


def _grey_bytes(film: Film, rng: np.random.Generator) -> NDArray[np.uint8]:
    grey = see_film(film, FilmLook(), hip_schema().views[0], PIXELS, rng)
    rounded: NDArray[np.uint8] = np.rint(grey * 255.0).astype(np.uint8)
    return rounded


def _pace(share: float) -> float:
    """Learning-rate factor at a share of the training."""
    return min(1.0, share / 0.1 + 0.01) * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
