"""Adds constants of cells to an encoder's file that was written before there were any.

Components of the mean token come with them where the file is older than those too. They are measured
on the films that the file's other constants came from, drawn again by its recipe and known by those
constants; every tensor that is there stays byte for byte. Imports the encoders and the public films.

Legend: n films · h w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from server.encoders.pack_weights import PUBLIC_FILMS, PUBLIC_SEED
from server.encoders.pretrain import N_CONSTANT_FILMS, SUBJECTS, Progress, draw_films
from shared.contract.model_settings import EncoderSettings
from shared.errors import WeightsError
from shared.features.components import CELL_TENSORS, TENSORS
from shared.model.architectures import ARCHITECTURES, Architecture
from shared.model.encoders import encode, load_encoder
from shared.model.token_constants import measure_cells, measure_components
from shared.model.weights import read_weights, write_weights

_SAME_FILMS = 1e-2  # of a channel's SD: processors differ by less, other films by more


def add_cells(path: Path, out: Path, films: Tensor) -> str:
    """Write ``out``: the encoder's file with constants of cells, all that is there as it is.

    Args:
        path: an encoder's file.
        out: file to write; ``path`` itself too.
        films: of which its other constants are, [n,1,h,w] uint8.

    Returns:
        the new file's SHA-256.

    Raises:
        WeightsError: ``wrong-layout``: no encoder's file. ``other-films``: its token constants are not
            of these films.
    """
    tensors, metadata = read_weights(path, sha256=None)
    name, shape = _shape_of(path, metadata)
    settings = {"name": name, "token_channels": shape.channels, "token_grid": shape.grid}
    encoder = load_encoder(EncoderSettings.model_validate(settings), path)
    tokens = encode(encoder, films.float() / 255.0)
    means = tokens.mean(dim=(0, 1)) / encoder.scale  # in SDs: 0 of the films of its own constants
    furthest = float(means.abs().max())
    if furthest > _SAME_FILMS:
        raise WeightsError(
            "other-films",
            f"token constants of {path.name} must be of these {len(films)} films to {_SAME_FILMS:g} of "
            f"an SD, they differ by {furthest:.2g}",
            hint="its films were drawn or prepared by another version; pack or pretrain it again",
        )
    measured = {**measure_components(tokens), **measure_cells(tokens)}
    return write_weights(out, {**measured, **tensors}, metadata)


def constants_missing(path: Path) -> list[str]:
    """Names of the constants that ``add_cells`` would add to an encoder's file.

    Raises:
        WeightsError: ``wrong-layout``: no encoder's file.
    """
    tensors, metadata = read_weights(path, sha256=None)
    _shape_of(path, metadata)
    return [name for name in (*TENSORS, *CELL_TENSORS) if name not in tensors]


def _shape_of(path: Path, metadata: Mapping[str, object]) -> tuple[str, Architecture]:
    """The network of a file, by its layout."""
    named = {shape.layout: (name, shape) for name, shape in ARCHITECTURES.items()}
    found = named.get(str(metadata.get("layout")))
    if found is None:
        raise WeightsError(
            "wrong-layout",
            f"the layout of {path.name} must be one of {sorted(named)}, not {metadata.get('layout')}",
            hint="pack a checkpoint of one of them with `osteofed-coordinator weights`",
        )
    return found


def films_of_recipe(path: Path, *, progress: Progress | None = None) -> Tensor:
    """The public films of which an encoder's file has its constants, [n,1,h,w] uint8.

    Raises:
        WeightsError: ``no-recipe``: neither ``pretrain`` nor ``weights`` or ``pack`` wrote it.
    """
    recipe = read_weights(path, sha256=None)[1].get("recipe")
    if isinstance(recipe, Mapping) and "constants" in recipe:
        return draw_films(PUBLIC_FILMS, seed=PUBLIC_SEED, progress=progress)[0]
    if not isinstance(recipe, Mapping) or not {"films", "seed", "supervision"} <= set(recipe):
        raise WeightsError(
            "no-recipe",
            f"{path.name} must be written by pretrain, weights or pack: its recipe names its films",
            hint="pack the checkpoint with `osteofed-coordinator weights`",
        )
    taught = {supervision: draw for supervision, draw in SUBJECTS.values()}
    # what was only drawn has its constants of pictures
    supervision = tuple(recipe["supervision"]) or SUBJECTS["pictures"][0]
    n_films = min(int(recipe["films"]), N_CONSTANT_FILMS)
    return taught[supervision](n_films, seed=int(recipe["seed"]), progress=progress)[0]
