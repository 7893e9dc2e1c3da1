"""What a model sees of a cohort's films: cached tokens of a frozen encoder, else the films themselves;
and cached columns of the sources of films.

Each block is computed once, kept at the site and memory-mapped (``token_cache``). A coordinator that
waits for it would learn from the time how many films there are, so that where answers are held the work
is that of as many films as the plan has places for. Imports the encoder, the sources and the cohort.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort
from client.cohort.masks import crop_masks
from client.cohort.token_cache import block_file, load_block, token_file
from client.site.folder import Site
from shared.contract.capacity import capacity_of
from shared.contract.model_settings import EncoderSettings, ModelSettings
from shared.contract.plan import Plan
from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.features.sources import FeatureSource
from shared.train.device import choose_device, repeatable

if TYPE_CHECKING:
    from torch import Tensor

    from shared.model.encoders import Encoder

Tokens = NDArray[np.float32]
# One piece of these is in memory at a time.
_FILMS_AT_ONCE = 256


def load_tokens(site: Site, plan: Plan, cohort: Cohort) -> Tokens:
    """Tokens of each row of ``cohort.images``, [n_films, t, c] float32.

    Raises:
        WeightsError: the plan's encoder is not cached here, or the cohort was preprocessed otherwise.
    """
    _require_preprocessing(cohort)
    return load_block(token_file(site, plan, cohort), lambda: encode_films(site, plan, cohort.images))


def film_places(site: Site, plan: Plan) -> int:
    """Films for which there is work at least where a cohort's films are looked at for the first time.

    All that patients of the declared size have room for; 0 where no answer is held, as in simulations.
    """
    settings = plan.settings
    if not settings.patience.reply_quantum_s:
        return 0
    declared = plan.entry(site.name).declared_patients
    return capacity_of(settings.cohort.split, "everybody", declared=declared) * settings.caps.max_views


def load_film_columns(
    site: Site,
    settings: ModelSettings,
    cohort: Cohort,
    *,
    changed: str = "",
    films: Callable[[], NDArray[np.floating]] | None = None,
    places: int = 0,
) -> Tokens | None:
    """What sources of films say of each row of ``cohort.images``, [n_films, f]; None without any.

    Each source is a block of its own in the cache; crops are measured within their masks. One block
    stays memory-mapped; several are joined in memory, 4 bytes a film and column.

    Args:
        site: the opened site.
        settings: name the sources.
        cohort: an opened cohort.
        changed: how its films are changed before they are measured, in words that name their blocks;
            empty: they are not.
        films: makes the changed films [n_films,h,w] where a block is not there yet.
        places: films for which there is work at least, where a block is not there yet.

    Raises:
        WeightsError: public constants or an encoder's file are not those of the plan or not here, or
            the cohort was preprocessed otherwise.
    """
    if not settings.features.of_films:
        return None
    _require_preprocessing(cohort)

    def measure(source: FeatureSource) -> Tokens:
        from shared.train.film_columns import make_measure

        measured, masks = films() if films else cohort.images, crop_masks(cohort)
        measure_films = make_measure(settings, source, site.encoder_file)

        def measure_some(some: NDArray[np.float32], rows: slice) -> Tokens:
            return measure_films(some, None if masks is None else [*masks[rows], *[None] * len(some)])

        return of_films(measured, measure_some, places=places)

    blocks = [
        load_block(
            source_file(site, settings, cohort, source, changed=changed),
            functools.partial(measure, source),
        )
        for source in settings.features.of_films
    ]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def encoded_blocks(site: Site, plan: Plan, cohort: Cohort) -> list[tuple[Path, EncoderSettings]]:
    """Every block that a frozen encoder makes of a cohort's films: its file, and the encoder."""
    settings = plan.settings
    own = [(token_file(site, plan, cohort), settings.encoder)] if settings.reads_tokens else []
    of_sources = [
        (source_file(site, settings, cohort, source), encoder)
        for source in settings.features.of_films
        if (encoder := settings.encoder_of(source)) is not None
    ]
    return own + of_sources


def source_file(
    site: Site, settings: ModelSettings, cohort: Cohort, source: FeatureSource, *, changed: str = ""
) -> Path:
    """Where a source's block of a cohort's films lies, by all that decides its numbers."""
    encoder = settings.encoder_of(source)
    how = {"films": changed} if changed else {}
    if encoder is None:
        return block_file(site, cohort, source.model_dump(mode="json") | how)
    components, grid = getattr(source, "components", 0), encoder.token_grid
    made_by = {"kind": "pooled", "encoder": encoder.sha256, "components": components}
    if grid > 1:
        made_by |= {"kind": "cells", "token_grid": grid}
    return block_file(site, cohort, made_by | how)


def load_films(cohort: Cohort) -> Tensor:
    """Normalised films as they are stored, [n_films, h, w] float16, memory-mapped; never written to.

    Raises:
        WeightsError: the cohort was preprocessed otherwise.
    """
    _require_preprocessing(cohort)
    return as_tensor(cohort.images)


def load_activations(site: Site, plan: Plan, cohort: Cohort) -> Tensor:
    """What the frozen blocks of a partly trained encoder make of each row of ``cohort.images``.

    Shapes: [n_films,t,d] float32, memory-mapped; never written to.

    Raises:
        SettingsError: the network has fewer blocks than are to learn.
        WeightsError: as ``load_tokens``.
    """
    _require_preprocessing(cohort)
    made_by = {
        "kind": "activations",
        "encoder": plan.encoder_sha256,
        "trained_blocks": plan.settings.encoder.trained_blocks,
    }
    return as_tensor(
        load_block(block_file(site, cohort, made_by), lambda: _activate_films(site, plan, cohort))
    )


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


def as_tensor(array: NDArray[np.floating]) -> Tensor:
    """A memory-mapped array as a tensor that is never written to."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def encode_films(site: Site, plan: Plan, images: NDArray[np.floating]) -> Tokens:
    """What the plan's frozen encoder makes of films [n,h,w], [n,t,c].

    Raises:
        WeightsError: the encoder is not cached here.
    """
    from shared.model.encoders import encode

    encoder = _frozen_encoder(site, plan)
    return _with_network(images, lambda films: encode(encoder, films), places=film_places(site, plan))


def _activate_films(site: Site, plan: Plan, cohort: Cohort) -> Tokens:
    from shared.model.partial import activate, count_frozen

    encoder = _frozen_encoder(site, plan)
    blocks = count_frozen(encoder, plan.settings.encoder)
    return _with_network(
        cohort.images,
        lambda films: activate(encoder, films, blocks=blocks),
        places=film_places(site, plan),
    )


def _frozen_encoder(site: Site, plan: Plan) -> Encoder:
    from shared.model.encoders import load_encoder

    encoder = load_encoder(plan.settings.encoder, site.encoder_file(plan.encoder_sha256))
    return encoder.to(choose_device(plan.settings.device))


def _with_network(
    images: NDArray[np.floating], work: Callable[[Tensor], Tensor], *, places: int
) -> Tokens:
    """What ``work`` makes of films [n,1,h,w]; ``places`` as of ``of_films``."""
    import torch

    def made(films: NDArray[np.float32], _: slice) -> Tokens:
        tokens: Tokens = work(torch.from_numpy(films)[:, None]).numpy()
        return tokens

    with repeatable():
        return of_films(images, made, places=places)


def of_films(
    images: NDArray[np.floating],
    work: Callable[[NDArray[np.float32], slice], Tokens],
    *,
    places: int = 0,
) -> Tokens:
    """What ``work`` makes of films [n,h,w] and their rows, some at a time; of none too, for its shape.

    Args:
        images: of a cohort.
        work: is given films in memory, and which rows of ``images`` are the first of them.
        places: films for which there is work at least; above those there are, films of noise are worked
            on, in pieces of one size, and left out. 0: no film but those there are.
    """
    n, pieces = len(images), []
    size = min(places, _FILMS_AT_ONCE) or _FILMS_AT_ONCE
    noise = np.random.default_rng(0).random((size if places else 0, *images.shape[1:]), np.float32)
    for start in range(0, max(n, places, 1), size):
        rows = slice(start, max(start, min(start + size, n)))
        some = np.asarray(images[rows], dtype=np.float32)
        made = work(np.concatenate([some, noise[len(some) :]]), rows)
        pieces.append(made[: len(some)])
    return np.concatenate(pieces)
