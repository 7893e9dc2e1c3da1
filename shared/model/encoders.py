"""Image encoders: a normalised film to standardised image tokens.

An encoder is a weights file with its SHA-256 and a layout name, loaded strictly, then asked to repeat
stored activations; it comes out frozen, and ``end_to_end`` frees what is to be trained. The file also
holds the public constants that standardise its tokens: channel mean
and SD, and one global factor that gives the pooled token a norm of about 3. Legend: b batch ·
c channels · h w pixels · t tokens. Imports the networks and weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.contract.model_settings import EncoderSettings
from shared.errors import WeightsError
from shared.model import dinov2, resnet34, resnet_gn, tiny_network
from shared.model.weights import read_weights, write_weights

POOLED_NORM = 3.0
_FILMS_AT_ONCE = {"cpu": 1, "cuda": 64}
PUBLIC_PIXELS = 224  # edge of the films that both public networks take
_CONSTANTS = ("osteofed.channel_mean", "osteofed.channel_sd", "osteofed.scale")
_PROBE = ("osteofed.probe_film", "osteofed.probe_tokens")
# ImageNet's channel statistics, with which both public networks were trained.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """What a name stands for.

    ``channels`` and ``grid``: the shape of its map. ``is_public``: a published network, which takes
    films of ``PUBLIC_PIXELS`` with three channels. ``unused``: keys of its layout that are left out.
    """

    layout: str
    channels: int
    grid: int
    make: Callable[[], nn.Module]
    is_public: bool = False
    unused: frozenset[str] = frozenset()


ARCHITECTURES: dict[str, Architecture] = {
    "tiny": Architecture(
        "osteofed-tiny-1", tiny_network.CHANNELS, tiny_network.GRID, tiny_network.TinyNetwork
    ),
    "resnet34": Architecture(
        "torchvision-resnet34",
        resnet34.CHANNELS,
        resnet34.GRID,
        resnet34.ResNet34Map,
        is_public=True,
        unused=frozenset({"fc.weight", "fc.bias"}),
    ),
    "resnet_gn": Architecture(
        "osteofed-resnet-gn-1", resnet_gn.CHANNELS, resnet_gn.GRID, resnet_gn.GroupNormResNet
    ),
    "dinov2_s": Architecture(
        "dinov2-vits14",
        dinov2.WIDTH,
        dinov2.GRID,
        dinov2.DinoV2Small,
        is_public=True,
        unused=frozenset({"mask_token"}),
    ),
}


class Encoder(nn.Module):
    """A network with its standardising constants.

    Tokens are averaged from the network's grid to ``grid``; rows first.
    """

    channel_mean: Tensor
    channel_sd: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, *, pixels: int | None, grid: int, channels: int) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels
        self.grid = grid
        self.register_buffer("channel_mean", torch.zeros(channels))
        self.register_buffer("channel_sd", torch.ones(channels))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, films: Tensor) -> Tensor:
        """Standardised tokens of normalised films in [0,1].

        Shapes: films [b,1,h,w] -> [b,t,c].
        """
        mapped = self.network(self._prepare(films))  # [b,c,g,g]
        if mapped.shape[-1] != self.grid:
            mapped = shrink_map(mapped, self.grid)
        tokens = mapped.flatten(2).transpose(1, 2)  # [b,t,c]
        standard: Tensor = (tokens - self.channel_mean) / self.channel_sd * self.scale
        return standard

    def _prepare(self, films: Tensor) -> Tensor:
        """A public network's input: 224 pixels, three equal channels, ImageNet statistics."""
        if self.pixels is None:
            return films
        size = (self.pixels, self.pixels)
        films = functional.interpolate(films, size=size, mode="bilinear", align_corners=False)
        mean = films.new_tensor(_IMAGENET_MEAN).reshape(1, 3, 1, 1)
        deviation = films.new_tensor(_IMAGENET_SD).reshape(1, 3, 1, 1)
        return (films.expand(-1, 3, -1, -1) - mean) / deviation


def shrink_map(mapped: Tensor, grid: int) -> Tensor:
    """Means over the cells of a coarser grid; cells overlap where ``grid`` does not divide the map's.

    As ``adaptive_avg_pool2d``, whose backward pass has no fixed order of summation on a GPU.

    Shapes: [b,c,g,g] -> [b,c,grid,grid].
    """
    b, c, g, _ = mapped.shape
    if g % grid == 0:
        step = g // grid
        blocks: Tensor = mapped.reshape(b, c, grid, step, grid, step).mean(dim=(3, 5))
        return blocks
    weight = mapped.new_zeros(grid, g)
    for cell in range(grid):
        start, end = cell * g // grid, -(-(cell + 1) * g // grid)
        weight[cell, start:end] = 1.0 / (end - start)
    return weight @ mapped @ weight.T


def make_encoder(name: str, *, grid: int) -> Encoder:
    """An encoder of this architecture without its weights, in evaluation mode and frozen."""
    shape = ARCHITECTURES[name]
    pixels = PUBLIC_PIXELS if shape.is_public else None
    encoder = Encoder(shape.make(), pixels=pixels, grid=grid, channels=shape.channels)
    encoder.requires_grad_(False)
    return encoder.eval()


def load_encoder(settings: EncoderSettings, path: Path) -> Encoder:
    """The frozen encoder of a run, from the file at ``path``.

    Raises:
        WeightsError: ``missing``, ``wrong-hash``, ``wrong-layout`` (keys, shapes, constants or the
            plan's token shape differ) or ``failed-activation-check``.
    """
    tensors, metadata = read_weights(path, sha256=settings.sha256 or None)
    shape = _architecture(settings.name)
    if metadata.get("layout") != shape.layout:
        raise _wrong_layout(path, f"layout must be {shape.layout}, not {metadata.get('layout')}")
    _check_token_shape(settings, path)
    lacking = [name for name in _CONSTANTS if name not in tensors]
    if lacking:
        raise _wrong_layout(path, f"it lacks the token constants {lacking}")
    encoder = make_encoder(settings.name, grid=shape.grid)
    state = {name: value for name, value in tensors.items() if not name.startswith("osteofed.")}
    _load_strictly(encoder.network, state, path)
    _set_constants(encoder, *(tensors[name] for name in _CONSTANTS), path=path)
    if _PROBE[0] in tensors:
        _check_activations(encoder, tensors[_PROBE[0]], tensors[_PROBE[1]], path)
    encoder.grid = settings.token_grid
    return encoder


def draw_encoder(settings: EncoderSettings, generator: torch.Generator) -> Encoder:
    """A frozen ``resnet_gn`` whose weights come from ``generator``.

    Its map leaves a normalisation, so that its token constants are known without films.

    Raises:
        WeightsError: the plan's token shape is not the network's.
    """
    _check_token_shape(settings, Path(settings.name))
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
    device = encoder.scale.device
    size = batch or _FILMS_AT_ONCE[device.type]
    pieces = []
    with torch.inference_mode():
        for piece in torch.split(films, size):
            black = piece.new_zeros((size - len(piece), *piece.shape[1:]))
            tokens = encoder(torch.cat([piece, black]).to(device))[: len(piece)]
            pieces.append(tokens.float().cpu())
    if not pieces:
        return torch.zeros(0, encoder.grid**2, encoder.channel_mean.shape[0])
    return torch.cat(pieces).clone()


def pack_encoder(
    name: str,
    state: dict[str, Tensor],
    films: Tensor,
    path: Path,
    *,
    recipe: dict[str, object],
) -> str:
    """Write an encoder's file: network, token constants measured on public films, and a probe.

    Args:
        name: an architecture.
        state: the network's tensors in its published layout.
        films: public films [n,1,h,w] in [0,1]; the constants come from them, the probe is the first.
        path: file to write.
        recipe: how the weights came to be (JSON values), kept in the file.

    Returns:
        the file's SHA-256.

    Raises:
        WeightsError: the state does not have this layout.
    """
    shape = _architecture(name)
    encoder = make_encoder(name, grid=shape.grid)
    kept = {
        key: value
        for key, value in state.items()
        if key not in shape.unused and not key.endswith("num_batches_tracked")
    }
    _load_strictly(encoder.network, kept, path)
    mean, deviation, scale = measure_constants(encode(encoder, films))
    _set_constants(encoder, mean, deviation, scale, path=path)
    probe = films[:1]
    tensors = {
        **kept,
        **dict(zip(_CONSTANTS, (mean, deviation, scale), strict=True)),
        **dict(zip(_PROBE, (probe, encode(encoder, probe)), strict=True)),
    }
    return write_weights(path, tensors, {"layout": shape.layout, "recipe": recipe})


def measure_constants(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Channel mean, SD of the pooled token, and the factor that makes its typical norm 3.

    Shapes: tokens [n,t,c] of public films -> [c], [c], [].
    """
    pooled = tokens.mean(dim=1)  # [n,c]
    mean = pooled.mean(dim=0)
    deviation = pooled.std(dim=0).clamp(min=1e-6)
    # A standardised pooled token has a squared norm of c on average.
    return mean, deviation, torch.tensor(POOLED_NORM / math.sqrt(tokens.shape[-1]))


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise WeightsError(
            "wrong-layout", f"encoder must be one of {sorted(ARCHITECTURES)}, not {name}"
        )
    return ARCHITECTURES[name]


def _check_token_shape(settings: EncoderSettings, path: Path) -> None:
    shape = _architecture(settings.name)
    if settings.token_channels != shape.channels or not 1 <= settings.token_grid <= shape.grid:
        raise _wrong_layout(
            path,
            f"{settings.name} gives {shape.channels} channels on a grid of 1 to {shape.grid}, "
            f"not {settings.token_channels} on {settings.token_grid}",
        )


def _wrong_layout(path: Path, fact: str) -> WeightsError:
    return WeightsError(
        "wrong-layout",
        f"{path.name}: {fact}",
        hint="name the encoder this file was packed for, or pack the checkpoint again",
    )


def _load_strictly(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Every key and shape must match; counters of batch normalisation carry nothing here."""
    own = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    unknown = sorted(set(state) - set(own))
    lacking = sorted(set(own) - set(state))
    reshaped = sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape)
    if unknown or lacking or reshaped:
        raise _wrong_layout(
            path,
            f"{len(unknown)} unknown, {len(lacking)} lacking and {len(reshaped)} reshaped tensors, "
            f"first {[*unknown, *lacking, *reshaped][:3]}",
        )
    network.load_state_dict(state, strict=False)


def _set_constants(
    encoder: Encoder, mean: Tensor, deviation: Tensor, scale: Tensor, *, path: Path
) -> None:
    for name, value in (("channel_mean", mean), ("channel_sd", deviation), ("scale", scale)):
        own = getattr(encoder, name)
        if own.shape != value.shape or not value.isfinite().all():
            raise _wrong_layout(path, f"constant {name} must be finite of shape {tuple(own.shape)}")
        own.copy_(value)


def _check_activations(encoder: Encoder, film: Tensor, expected: Tensor, path: Path) -> None:
    """The probe's tokens, to 1e-3 of their largest: kernels differ between processors."""
    found = encode(encoder, film)
    tolerance = 1e-3 * float(expected.abs().max())
    if found.shape != expected.shape or float((found - expected).abs().max()) > tolerance:
        raise WeightsError(
            "failed-activation-check",
            f"{path.name} does not repeat its stored activations within {tolerance:.2g}",
            hint="this installation computes another network; compare versions of torch and monai",
        )
