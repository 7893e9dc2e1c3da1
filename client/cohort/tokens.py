"""What a model sees of a cohort's films: cached tokens of a frozen encoder, else the films themselves;
and cached columns of the sources of films.

Each block is computed once, kept at the site and memory-mapped (``token_cache``). Imports the encoder,
the sources and the cohort.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort
from client.cohort.token_cache import block_file, load_block, token_file
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.features.sources import FeatureSettings, measure_films
from shared.train.device import choose_device, repeatable

if TYPE_CHECKING:
    from torch import Tensor

Tokens = NDArray[np.float32]
_FILMS_AT_ONCE = 256


def load_tokens(site: Site, plan: Plan, cohort: Cohort) -> Tokens:
    """Tokens of each row of ``cohort.images``, [n_films, t, c] float32.

    Raises:
        WeightsError: the plan's encoder is not cached here, or the cohort was preprocessed otherwise.
    """
    _require_preprocessing(cohort)
    return load_block(token_file(site, plan, cohort), lambda: _encode_films(site, plan, cohort))


def load_film_columns(site: Site, cohort: Cohort, features: FeatureSettings) -> Tokens | None:
    """What sources of films say of each row of ``cohort.images``, [n_films, f]; None without any.

    Each source is a block of its own in the cache.

    Raises:
        WeightsError: public constants that are not those of the plan, or the cohort was preprocessed
            otherwise.
    """
    if not features.of_films:
        return None
    _require_preprocessing(cohort)
    blocks = [
        load_block(
            block_file(site, cohort, source.model_dump(mode="json")),
            functools.partial(measure_films, cohort.images, [source]),
        )
        for source in features.of_films
    ]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def load_films(cohort: Cohort) -> Tensor:
    """Normalised films as they are stored, [n_films, h, w] float16, memory-mapped; never written to.

    Raises:
        WeightsError: the cohort was preprocessed otherwise.
    """
    import torch

    _require_preprocessing(cohort)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(cohort.images)


def encoder_file(site: Site, plan: Plan) -> Path | None:
    """This site's copy of the plan's encoder; None where the plan names no file."""
    return site.encoder_file(plan.encoder_sha256) if plan.encoder_sha256 else None


def _require_preprocessing(cohort: Cohort) -> None:
    if cohort.preprocessing != PREPROCESSING_VERSION:
        raise WeightsError(
            "other-preprocessing",
            f"cohort {cohort.name} v{cohort.version} was preprocessed by {cohort.preprocessing}, "
            f"this code expects {PREPROCESSING_VERSION}",
            hint="ingest again to make a new version",
        )


def _encode_films(site: Site, plan: Plan, cohort: Cohort) -> Tokens:
    import torch

    from shared.model.encoders import encode, load_encoder

    encoder = load_encoder(plan.settings.encoder, site.encoder_file(plan.encoder_sha256))
    encoder = encoder.to(choose_device(plan.settings.device))
    pieces = []
    with repeatable():
        for start in range(0, len(cohort.images), _FILMS_AT_ONCE):
            films = np.asarray(cohort.images[start : start + _FILMS_AT_ONCE], dtype=np.float32)
            pieces.append(encode(encoder, torch.from_numpy(films)[:, None]).numpy())
    channels, grid = plan.settings.encoder.token_channels, plan.settings.encoder.token_grid
    return np.concatenate([np.zeros((0, grid**2, channels), dtype=np.float32), *pieces])
