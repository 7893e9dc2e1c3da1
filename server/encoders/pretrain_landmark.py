"""Trains the network that finds a landmark, once, at the coordinator, on public synthetic films.

It sees worn films of any field of view, and films that it must not take for sound ones: bones dark,
turned, mirrored, at a wrong scale. Owns the recipe; ``shared/exam/anatomy.py`` reads its file.
Legend: n films · h w pixels at 4 mm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from shared.exam.anatomy import LAYERS, network_input, scale_channels, scaled_shape
from shared.signing.canonical import hash_file
from shared.train.device import one_thread

WIDTHS = (2, 12, 16, 24, 24, 24, 24)
SIZE = 72  # pixels of what it is trained on
N_FILMS = 2_500
EPOCHS = 8
BATCH = 32
LEARNING_RATE = 2e-3
SPREAD = 1.1  # of the target around the landmark, in pixels of the map
RECIPE_VERSION = 1

Progress = Callable[[str, int, int], None]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """One film as the network sees it: channels [2,h,w], and the landmark in its pixels or None."""

    channels: Floats
    landmark: tuple[float, float] | None


class LandmarkNetwork(nn.Module):
    """The layers of ``shared.exam.anatomy.LAYERS`` with ReLU, and a 1 x 1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        for (name, stride, dilation), inputs, outputs in zip(
            LAYERS, WIDTHS[:-1], WIDTHS[1:], strict=True
        ):
            layer = nn.Conv2d(inputs, outputs, 3, stride=stride, dilation=dilation, padding=dilation)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            self.add_module(name, layer)
        self.head = nn.Conv2d(WIDTHS[-1], 1, 1)
        nn.init.constant_(self.head.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, channels: Tensor) -> Tensor:
        """Shapes: [b,2,h,w] -> [b,h/2,w/2], confidences before the logistic function."""
        for name, _, _ in LAYERS:
            channels = functional.relu(self.get_submodule(name)(channels))
        mapped: Tensor = self.head(channels)[:, 0]
        return mapped


def see(
    picture: Floats, exposed: NDArray[np.bool_], pixel_mm: float, landmark: tuple[float, float] | None
) -> Seen:
    """A film [h,w] at 4 mm per pixel; ``pixel_mm`` may be wrong on purpose."""
    channels = network_input(picture, exposed)
    shape = scaled_shape(picture.shape, (pixel_mm, pixel_mm))
    scaled = scale_channels(channels, shape)
    if landmark is None:
        return Seen(scaled, None)
    row, column = (
        place * new / old for place, new, old in zip(landmark, shape, picture.shape, strict=True)
    )
    return Seen(scaled, (row, column))


def place(seen: Seen, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A film in a square of ``SIZE``, anywhere, and its target: [2,s,s] and [s/2,s/2]."""
    square = np.zeros((2, SIZE, SIZE), np.float32)
    corner = []
    for axis, n in enumerate(seen.channels.shape[1:]):
        if n <= SIZE:
            corner.append(int(rng.integers(0, SIZE - n + 1)))
            continue
        low, high = SIZE - n, 0
        if seen.landmark is not None:  # keep the landmark inside, 6 pixels from the edge at least
            low = max(low, int(np.ceil(6 - seen.landmark[axis])))
            high = min(high, int(SIZE - 6 - seen.landmark[axis]))
        corner.append(int(rng.integers(min(low, high), high + 1)))
    (top, left), (_, height, width) = corner, seen.channels.shape
    y, x = slice(max(0, top), min(SIZE, top + height)), slice(max(0, left), min(SIZE, left + width))
    square[:, y, x] = seen.channels[:, y.start - top : y.stop - top, x.start - left : x.stop - left]
    target = np.zeros((SIZE // 2, SIZE // 2), np.float32)
    if seen.landmark is not None:
        rows, columns = np.mgrid[: SIZE // 2, : SIZE // 2]
        row, column = ((at + shift - 0.5) / 2 for at, shift in zip(seen.landmark, corner, strict=True))
        target = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * SPREAD**2)).astype(
            np.float32
        )
    return square, target


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a heat map (Law & Deng, CornerNet, ECCV 2018, eq. 1)."""
    p = torch.sigmoid(logits).clamp(1e-5, 1 - 1e-5)
    is_peak = (target > 0.8).float()
    near = -((1 - p) ** 2) * torch.log(p) * is_peak * target
    away = -((1 - target) ** 4) * p**2 * torch.log(1 - p) * (1 - is_peak)
    return (near.sum() + away.sum()) / len(logits)


def fit_landmark(
    films: list[Seen], *, seed: int, epochs: int, progress: Progress | None = None
) -> tuple[LandmarkNetwork, float]:
    """Train on films, each put somewhere else in every epoch; Adam along a cosine."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network, recent = LandmarkNetwork(), 0.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    n_steps = epochs * (len(films) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps + 1)
    for epoch in range(epochs):
        recent = 0.0
        order = rng.permutation(len(films))[: len(films) // BATCH * BATCH].reshape(-1, BATCH)
        for step, chosen in enumerate(order):
            placed = [place(films[index], rng) for index in chosen]
            squares, targets = (torch.from_numpy(np.stack(part)) for part in zip(*placed, strict=True))
            logits = network(squares.to(memory_format=torch.channels_last))
            loss = focal_loss(logits, targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            recent += (float(loss.detach()) - recent) / (step + 1)
        if progress is not None:
            progress(f"training, loss {recent:.3f}", epoch + 1, epochs)
    return network, recent


def pretrain_landmark(
    out_path: Path,
    *,
    seed: int,
    n_films: int = N_FILMS,
    epochs: int = EPOCHS,
    progress: Progress | None = None,
) -> str:
    """Train the network of the hip's landmark and write its file.

    Args:
        out_path: safetensors file to write.
        seed: draws films and initial weights; the recipe keeps it.
        n_films: public films, each of which is seen three times.
        epochs: passes over them.
        progress: called with what is being done, how much is done, and of how much.

    Returns:
        the file's SHA-256.
    """
    from server.encoders.landmark_films import draw_seen

    seen = draw_seen(n_films, seed=seed, progress=progress)
    with one_thread():  # sums come in one order, so equal seeds give an equal file
        network, loss = fit_landmark(seen, seed=seed, epochs=epochs, progress=progress)
    recipe: dict[str, object] = {
        "version": RECIPE_VERSION,
        "films": n_films,
        "seed": seed,
        "epochs": epochs,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "final_loss": round(loss, 4),
    }
    write_landmark(network, out_path, recipe)
    return hash_file(out_path)


def write_landmark(network: LandmarkNetwork, path: Path, recipe: dict[str, object]) -> None:
    """Write weights and recipe as one safetensors file."""
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, path, metadata={"recipe": json.dumps(recipe, sort_keys=True)})
