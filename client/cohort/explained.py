"""Patients as a measure of bone reads them: with films whose bone, and as much else, is hidden.

Hidden films and what an encoder makes of them are computed once, kept at the site and memory-mapped
(``token_cache``). Imports the cohort, its masks and hidden films.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort
from client.cohort.hidden_films import Film, Mask, hide_bone, hide_else
from client.cohort.masks import load_masks
from client.cohort.patients import SplitData, batch_of, load_nobody
from client.cohort.token_cache import block_file, load_block
from client.cohort.tokens import as_tensor, encode_films, load_films, load_tokens
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
        plan: an approved plan, whose model reads image tokens.
        data: the split, from ``load_split``.
        reads: what the measure reads.

    Raises:
        WeightsError: the plan's encoder is not cached here.
    """
    cohort, is_frozen = data.cohort, plan.settings.encoder.training == "frozen"
    masks, grid = load_masks(data.cohort), _grid_of(plan)
    shares = np.full((len(cohort.images), grid**2), NO_MASK)
    if masks is not None and len(masks):
        shares = shares_of_places(masks, grid)
    bone = batch_of(plan, cohort, data.arrays, tokens=shares[:, :, None].astype(np.float32))
    if is_frozen:
        own = batch_of(plan, cohort, data.arrays, tokens=load_tokens(site, plan, cohort))
    else:
        own = batch_of(plan, cohort, data.arrays, films=load_films(cohort))
    hidden = [_with_hidden(site, plan, data, what) for what in _HIDING if reads == "hidden"]
    return ExplainedPatients(own, tuple(hidden), bone.tokens[..., 0])


def explain_nobody(plan: Plan, *, reads: Literal["hidden", "maps"]) -> ExplainedPatients:
    """Nobody, as a measure of bone reads patients; arguments as ``explain_split``."""
    nobody = load_nobody(plan)
    hidden = tuple(nobody for _ in _HIDING if reads == "hidden")
    bone = nobody.target.new_zeros(0, nobody.film_exam.shape[1], _grid_of(plan) ** 2)
    return ExplainedPatients(nobody, hidden, bone)


def _grid_of(plan: Plan) -> int:
    """Places of a film in a row."""
    encoder = plan.settings.encoder
    is_frozen = encoder.training == "frozen"
    return encoder.token_grid if is_frozen else min(encoder.token_grid, _LARGEST_GRID)


def _with_hidden(site: Site, plan: Plan, data: SplitData, what: str) -> PatientBatch:
    cohort, encoder = data.cohort, plan.settings.encoder
    made_by = {
        "kind": "hidden films",
        "what": what,
        "version": _VERSION,
    }
    if encoder.training != "frozen":
        films = load_block(block_file(site, cohort, made_by), lambda: hidden_films(cohort, what))
        return batch_of(plan, cohort, data.arrays, films=as_tensor(films))
    made_by |= {"encoder": str(plan.encoder_sha256), "grid": str(encoder.token_grid)}
    tokens = load_block(
        block_file(site, cohort, made_by),
        lambda: encode_films(site, plan, hidden_films(cohort, what)),
    )
    return batch_of(plan, cohort, data.arrays, tokens=tokens)


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
