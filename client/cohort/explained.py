"""Patients as a measure of bone reads them: with films whose bone, and as much else, is hidden.

Hidden films, and what an encoder or a source of features makes of them, are computed once, kept at the
site and memory-mapped (``token_cache``). Imports the cohort, its masks and hidden films.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort
from client.cohort.hidden_films import Film, Mask, hide_bone, hide_else
from client.cohort.masks import load_masks
from client.cohort.patients import SplitData, batch_of, no_tokens
from client.cohort.token_cache import block_file, load_block
from client.cohort.tokens import (
    as_tensor,
    encode_films,
    film_places,
    load_film_columns,
    load_films,
    load_tokens,
)
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.stages.explained import NO_MASK, ExplainedPatients, shares_of_places

if TYPE_CHECKING:
    from shared.train.patients import PatientBatch

# A new number where hidden films come out otherwise.
_VERSION = 1
_HIDING: dict[str, Callable[[Film, Mask], Film]] = {"bone": hide_bone, "else": hide_else}
# A film with one place hidden goes through an encoder that learns, so it has no more places than this.
_LARGEST_GRID = 8


def explain_split(
    site: Site, plan: Plan, data: SplitData, *, reads: Literal["hidden", "maps"]
) -> ExplainedPatients:
    """The patients of a split as a measure of bone reads them.

    Args:
        site: the opened site.
        plan: an approved plan, whose model looks at films.
        data: the split, from ``load_split``.
        reads: what the measure reads.

    Raises:
        WeightsError: an encoder of the plan is not cached here.
    """
    cohort, settings, grid = data.cohort, plan.settings, _grid_of(plan)
    is_frozen, masks = settings.encoder.training == "frozen", load_masks(data.cohort)
    shares = np.full((len(cohort.images), grid**2), NO_MASK)
    if masks is not None and len(masks):
        shares = shares_of_places(masks, grid)
    bone = batch_of(plan, cohort, data.arrays, tokens=shares[:, :, None].astype(np.float32))
    if is_frozen:
        own = batch_of(
            plan,
            cohort,
            data.arrays,
            tokens=load_tokens(site, plan, cohort) if settings.reads_tokens else no_tokens(cohort),
            film_columns=load_film_columns(site, settings, cohort, places=film_places(site, plan)),
        )
    else:
        own = batch_of(plan, cohort, data.arrays, films=load_films(cohort))
    hidden = [_with_hidden(site, plan, data, what) for what in _HIDING if reads == "hidden"]
    return ExplainedPatients(own, tuple(hidden), bone.tokens[..., 0])


def _grid_of(plan: Plan) -> int:
    """Places of a film in a row: one, the whole film, where nobody draws a map."""
    settings = plan.settings
    is_frozen = settings.encoder.training == "frozen"
    return max(settings.map_grid, 1) if is_frozen else min(settings.map_grid, _LARGEST_GRID)


def _with_hidden(site: Site, plan: Plan, data: SplitData, what: str) -> PatientBatch:
    cohort, settings = data.cohort, plan.settings
    made_by = {
        "kind": "hidden films",
        "what": what,
        "version": _VERSION,
    }
    films = functools.cache(lambda: hidden_films(cohort, what))
    if settings.encoder.training != "frozen":
        store = load_block(block_file(site, cohort, made_by), films)
        return batch_of(plan, cohort, data.arrays, films=as_tensor(store))
    tokens = no_tokens(cohort)
    if settings.reads_tokens:
        made_by |= {"encoder": str(plan.encoder_sha256), "grid": str(settings.encoder.token_grid)}
        file = block_file(site, cohort, made_by)
        tokens = load_block(file, lambda: encode_films(site, plan, films()))
    return batch_of(
        plan,
        cohort,
        data.arrays,
        tokens=tokens,
        film_columns=load_film_columns(
            site,
            settings,
            cohort,
            changed=f"{what} hidden, {_VERSION}",
            films=films,
            places=film_places(site, plan),
        ),
    )


def hidden_films(cohort: Cohort, what: str) -> NDArray[np.float32]:
    """The cohort's films [n,h,w] with ``bone`` or ``else`` hidden; one without a mask as it is."""
    masks = load_masks(cohort)
    if masks is None:
        return np.asarray(cohort.images, dtype=np.float32)
    films = [
        _HIDING[what](np.asarray(film), np.asarray(mask))
        for film, mask in zip(cohort.images, masks, strict=True)
    ]
    return np.stack(films).astype(np.float32) if films else np.zeros(cohort.images.shape, np.float32)
