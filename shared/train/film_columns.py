"""What a source of features says of films: radiomics, or mean token or cells of a frozen encoder.

Each film is measured by itself, and an encoder is loaded once. Owns the way from a source to numbers;
its columns are known without any network (``shared.features.sources``). Imports encoders and sources.

Legend: n films · h w pixels · t cells · c channels · k components · f columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from shared.contract.model_settings import EncoderSettings, ModelSettings
from shared.errors import WeightsError
from shared.features.components import project, public_spreads, read_cells, read_components
from shared.features.radiomics.region import Mask
from shared.features.sources import (
    FeatureSource,
    RadiomicsSource,
    measure_radiomics,
)
from shared.model.encoders import Encoder, encode, load_encoder
from shared.model.token_constants import shrink_tokens
from shared.train.device import choose_device, repeatable

Films = NDArray[np.floating]
Floats = NDArray[np.float64]
Block = NDArray[np.float32]
Masks = Sequence[Mask | None] | None
Measure = Callable[[Films, Masks], Block]
FileOf = Callable[[str], Path]
_FILMS_AT_ONCE = 256
_SAME_SPREAD = 1e-6  # of a spread: a plan repeats what the file holds


def make_measure(settings: ModelSettings, source: FeatureSource, file_of: FileOf) -> Measure:
    """What measures films by a source, [n,h,w] in [0,1] and their masks or None -> [n,f] float32.

    Radiomics are measured within a mask, an encoder sees the whole film.

    Args:
        settings: of the run.
        source: one of ``settings.features.of_films``.
        file_of: this machine's copy of the encoder file of a hash.

    Raises:
        WeightsError: an encoder's file is not here, not the plan's, or without the components, of the
            mean token or of cells.
    """
    encoder = settings.encoder_of(source)
    if encoder is None:
        return partial(measure_radiomics, source=cast(RadiomicsSource, source))
    return _token_measure(
        encoder,
        file_of(encoder.sha256),
        spreads=getattr(source, "spreads", ()),
        device=choose_device(settings.device),
    )


def measure_films(films: Films, settings: ModelSettings, file_of: FileOf, masks: Masks = None) -> Block:
    """Columns of films by all sources of films in order, [n,h,w] -> [n,f]; f = 0 without any."""
    measures = [make_measure(settings, source, file_of) for source in settings.features.of_films]
    blocks = [measure(films, masks) for measure in measures]
    return np.concatenate([np.zeros((len(films), 0), dtype=np.float32), *blocks], axis=1)


def _token_measure(
    settings: EncoderSettings, file: Path, *, spreads: Sequence[float], device: torch.device
) -> Measure:
    encoder = load_encoder(settings, file).to(device)
    if not spreads:
        return lambda films, _: _tokens(encoder, films)[:, 0]
    directions, variances, usual = _read_public(file, len(spreads), grid=settings.token_grid)
    n_cells = len(usual)
    held = public_spreads(variances, n_cells=n_cells)
    if not np.allclose(held, spreads, rtol=_SAME_SPREAD, atol=0.0):
        raise WeightsError(
            "other-components",
            f"the plan's spreads of {settings.name} are not those of its file",
            hint="ask the coordinator for a plan that is composed anew, with no spreads by hand",
        )

    def components_of(films: Films, _: Masks) -> Block:
        measured = np.zeros((len(films), n_cells, len(spreads)), dtype=np.float32)
        for row, cells in enumerate(_tokens(encoder, films).astype(np.float64) - usual):
            measured[row] = project(cells, directions, variances, n_cells=n_cells)
        return measured.reshape(len(films), n_cells * len(spreads))

    return components_of


def _read_public(file: Path, n_components: int, *, grid: int) -> tuple[Floats, Floats, Floats]:
    """Directions [c,k] and variances [k], and what each cell usually is [t,c]: 0 of a mean token."""
    if grid == 1:
        directions, variances = read_components(file, n_components)
        return directions, variances, np.zeros((1, len(directions)))
    directions, variances, means = read_cells(file, n_components, grid=grid)
    return directions, variances, shrink_tokens(torch.from_numpy(means)[None], grid)[0].numpy()


def _tokens(encoder: Encoder, films: Films) -> Block:
    """Standardised tokens, [n,h,w] -> [n,t,c]; some films at a time, none too, for the shape."""
    pieces = []
    with repeatable():
        for start in range(0, max(len(films), 1), _FILMS_AT_ONCE):
            some = np.asarray(films[start : start + _FILMS_AT_ONCE], dtype=np.float32)
            pieces.append(encode(encoder, torch.from_numpy(some)[:, None]).numpy())
    return np.concatenate(pieces)
