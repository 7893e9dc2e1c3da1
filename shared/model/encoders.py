"""Image encoders: a normalised film to standardised image tokens.

An encoder is a weights file with its SHA-256 and a layout name, loaded strictly, then asked to repeat
stored activations; it comes out frozen, and ``end_to_end`` frees what is to be trained. The file also
holds the public constants that standardise its tokens (``token_constants``): channel mean and SD, and
one global factor that gives the pooled token a norm of about 3. Legend: b batch · c channels ·
h w pixels · t tokens. Imports the table of architectures, layouts and weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.contract.model_settings import EncoderSettings
from shared.errors import WeightsError
from shared.model import resnet_gn
from shared.model.architectures import ARCHITECTURES, Architecture, PublicImage
from shared.model.layouts import PublishedLayout, load_strictly, own_state, wrong_layout
from shared.model.token_constants import (
    POOLED_NORM,
    measure_cells,
    measure_components,
    measure_constants,
    shrink_map,
)
from shared.model.weights import read_weights, write_weights

_FILMS_AT_ONCE = {"cpu": 1, "cuda": 64}
_CONSTANTS = ("osteofed.channel_mean", "osteofed.channel_sd", "osteofed.scale")
_PROBE = ("osteofed.probe_film", "osteofed.probe_tokens")


class Encoder(nn.Module):
    """A network with its standardising constants.

    Tokens are averaged from the network's grid to ``grid``; rows first. ``image``: what a film is made
    into first, None where the network takes it as it is.
    """

    channel_mean: Tensor
    channel_sd: Tensor
    scale: Tensor

    def __init__(
        self, network: nn.Module, *, image: PublicImage | None, grid: int, channels: int
    ) -> None:
        super().__init__()
        self.network = network
        self.image = image
        self.grid = grid
        self.register_buffer("channel_mean", torch.zeros(channels))
        self.register_buffer("channel_sd", torch.ones(channels))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, films: Tensor) -> Tensor:
        """Standardised tokens of normalised films in [0,1].

        Shapes: films [b,1,h,w] -> [b,t,c].
        """
        return self.standardise(self.map_films(films))

    def standardise(self, mapped: Tensor) -> Tensor:
        """Standardised tokens of the network's map.

        Shapes: [b,c,g,g] -> [b,t,c].
        """
        if mapped.shape[-1] != self.grid:
            mapped = shrink_map(mapped, self.grid)
        tokens = mapped.flatten(2).transpose(1, 2)  # [b,t,c]
        standard: Tensor = (tokens - self.channel_mean) / self.channel_sd * self.scale
        return standard

    def map_films(self, films: Tensor) -> Tensor:
        """The network's map, before it is shrunk and standardised.

        Shapes: films [b,1,h,w] -> [b,c,g,g].
        """
        mapped: Tensor = self.network(self.image_of(films))
        return mapped

    def image_of(self, films: Tensor) -> Tensor:
        """Films as the network takes them."""
        return films if self.image is None else colour(films, self.image)


def colour(films: Tensor, image: PublicImage) -> Tensor:
    """Films as a network of colour images takes them: its size, three equal channels, its statistics.

    Shapes: [b,1,h,w] -> [b,3,pixels,pixels].
    """
    size = (image.pixels, image.pixels)
    if films.shape[-2:] != size:
        films = functional.interpolate(films, size=size, mode="bilinear", align_corners=False)
    mean = films.new_tensor(image.mean).reshape(1, 3, 1, 1)
    deviation = films.new_tensor(image.sd).reshape(1, 3, 1, 1)
    return (films.expand(-1, 3, -1, -1) - mean) / deviation


def make_encoder(name: str, *, grid: int) -> Encoder:
    """An encoder of this architecture without its weights, in evaluation mode and frozen."""
    shape = ARCHITECTURES[name]
    encoder = Encoder(shape.make(), image=shape.image, grid=grid, channels=shape.channels)
    encoder.requires_grad_(False)
    return encoder.eval()


def load_encoder(settings: EncoderSettings, path: Path) -> Encoder:
    """The frozen encoder of a run, from the file at ``path``.

    Raises:
        WeightsError: ``missing``, ``wrong-hash``, ``wrong-layout`` (keys, shapes, constants, probe or
            the plan's token shape differ) or ``failed-activation-check``.
    """
    tensors, metadata = read_weights(path, sha256=settings.sha256 or None)
    shape = _architecture(settings.name)
    if metadata.get("layout") != shape.layout:
        raise wrong_layout(f"its layout must be {shape.layout}, not {metadata.get('layout')}")
    _check_token_shape(settings)
    lacking = [name for name in (*_CONSTANTS, *_PROBE) if name not in tensors]
    if lacking:
        raise wrong_layout(f"{path.name} lacks the token constants or the probe {lacking}")
    encoder = make_encoder(settings.name, grid=shape.grid)
    state = {name: value for name, value in tensors.items() if not name.startswith("osteofed.")}
    load_strictly(encoder.network, state)
    _set_constants(encoder, *(tensors[name] for name in _CONSTANTS))
    _check_activations(encoder, *(tensors[name] for name in _PROBE), path=path)
    encoder.grid = settings.token_grid
    return encoder


def draw_encoder(settings: EncoderSettings, generator: torch.Generator) -> Encoder:
    """A frozen ``resnet_gn`` whose weights come from ``generator``.

    Its map leaves a normalisation, so that its token constants are known without films.

    Raises:
        WeightsError: the plan's token shape is not the network's.
    """
    _check_token_shape(settings)
    encoder = make_encoder(settings.name, grid=settings.token_grid)
    resnet_gn.draw_weights(encoder.network, generator)
    encoder.scale.fill_(POOLED_NORM / math.sqrt(settings.token_channels))
    return encoder


def encode(encoder: Encoder, films: Tensor, *, batch: int | None = None) -> Tensor:
    """Tokens of many films, float32 on the processor.

    Every batch has one size, the last filled with black films, so that a film's tokens do not depend on
    how many others there are.

    Args:
        encoder: decides the device by where it lies.
        films: normalised films.
        batch: films at once; by default one on a processor, where more are no faster, and 64 on a GPU.

    Shapes: films [n,1,h,w] -> [n,t,c].
    """
    nothing = torch.zeros(0, encoder.grid**2, encoder.channel_mean.shape[0])
    return by_batches(encoder, films, nothing=nothing, device=encoder.scale.device, batch=batch)


def by_batches(
    work: Callable[[Tensor], Tensor],
    films: Tensor,
    *,
    nothing: Tensor,
    device: torch.device,
    batch: int | None = None,
) -> Tensor:
    """What ``work`` makes of films, as ``encode`` says; ``nothing`` where there is no film."""
    size = batch or _FILMS_AT_ONCE[device.type]
    pieces = [nothing]
    with torch.inference_mode():
        for piece in torch.split(films, size) if len(films) else ():
            black = piece.new_zeros((size - len(piece), *piece.shape[1:]))
            made = work(torch.cat([piece, black]).to(device))[: len(piece)]
            pieces.append(made.float().cpu())
    return torch.cat(pieces).clone()


def pack_encoder(
    name: str,
    state: dict[str, Tensor],
    films: Tensor,
    path: Path,
    *,
    recipe: dict[str, object],
    layout: str | None = None,
) -> str:
    """Write an encoder's file: network, constants measured on public films, and a probe.

    Args:
        name: an architecture.
        state: the network's tensors.
        films: public films [n,1,h,w] in [0,1]; token constants and components come from them, the probe
            is the first.
        path: file to write.
        recipe: how the weights came to be (JSON values), kept in the file.
        layout: a published one of the architecture's, whose names ``state`` has; None: its own.

    Returns:
        the file's SHA-256.

    Raises:
        WeightsError: the state does not have this layout.
    """
    shape = _architecture(name)
    encoder = make_encoder(name, grid=shape.grid)
    kept = own_state(encoder.network, state, find_layout(name, layout))
    load_strictly(encoder.network, kept)
    tokens = encode(encoder, films)
    mean, deviation, scale = measure_constants(tokens)
    _set_constants(encoder, mean, deviation, scale)
    probe, standard = films[:1], (tokens - mean) / deviation * scale
    tensors = {
        **kept,
        **dict(zip(_CONSTANTS, (mean, deviation, scale), strict=True)),
        **dict(zip(_PROBE, (probe, encode(encoder, probe)), strict=True)),
        **measure_components(standard),
        **measure_cells(standard),
    }
    return write_weights(path, tensors, {"layout": shape.layout, "recipe": recipe})


def find_layout(name: str, layout: str | None) -> PublishedLayout:
    """A published layout of an architecture; its own where none is named.

    Raises:
        WeightsError: ``wrong-layout``: nobody publishes this architecture so.
    """
    published = _architecture(name).published
    if layout is None:
        return PublishedLayout()
    if layout not in published:
        raise wrong_layout(f"layout of {name} must be one of {sorted(published)}, not {layout}")
    return published[layout]


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise WeightsError(
            "wrong-layout", f"encoder must be one of {sorted(ARCHITECTURES)}, not {name}"
        )
    return ARCHITECTURES[name]


def _check_token_shape(settings: EncoderSettings) -> None:
    shape = _architecture(settings.name)
    if settings.token_channels != shape.channels or not 1 <= settings.token_grid <= shape.grid:
        raise wrong_layout(
            f"{settings.name} gives {shape.channels} channels on a grid of 1 to {shape.grid}, "
            f"not {settings.token_channels} on {settings.token_grid}",
        )


def _set_constants(encoder: Encoder, mean: Tensor, deviation: Tensor, scale: Tensor) -> None:
    for name, value in (("channel_mean", mean), ("channel_sd", deviation), ("scale", scale)):
        own = getattr(encoder, name)
        if own.shape != value.shape or not value.isfinite().all():
            raise wrong_layout(f"constant {name} must be finite of shape {tuple(own.shape)}")
        own.copy_(value)


def _check_activations(encoder: Encoder, film: Tensor, expected: Tensor, *, path: Path) -> None:
    """The probe's tokens, to 1e-3 of their largest: kernels differ between processors."""
    found = encode(encoder, film)
    tolerance = 1e-3 * float(expected.abs().max())
    if found.shape != expected.shape or float((found - expected).abs().max()) > tolerance:
        raise WeightsError(
            "failed-activation-check",
            f"{path.name} does not repeat its stored activations within {tolerance:.2g}",
            hint="this installation computes another network; compare versions of torch and monai",
        )
