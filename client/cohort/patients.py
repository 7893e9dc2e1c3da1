"""Patients of a site as the model takes them: the right cohort, the right split, with their films.

A frozen encoder's model gets tokens from the cache, a learner of tables also columns of films; one that
learns an encoder gets the films, or what its frozen blocks make of them, which stay on disk until
their patient's turn. A model that reads
films never trains without any. Imports the cohort, the token cache and ``PatientBatch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from client.cohort.assemble import ExamArrays, assemble
from client.cohort.folder import Cohort
from client.cohort.tokens import (
    Tokens,
    film_places,
    load_activations,
    load_film_columns,
    load_films,
    load_tokens,
)
from client.cohort.versions import current_cohort
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.errors import IntakeError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.exam.schema import Split
from shared.signing.canonical import hash_of
from shared.train.patients import PatientBatch, build_patients, standardise_target

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SplitData:
    """Exams of a split, and the same patients as a padded batch in the order of ``arrays.patients``."""

    cohort: Cohort
    arrays: ExamArrays
    batch: PatientBatch


def load_split(site: Site, plan: Plan, *, name: str, split: Split | None) -> SplitData:
    """Labelled patients of a split of a site's cohort, each with at most the plan's exams and films.

    Args:
        site: the opened site.
        plan: an approved plan.
        name: the cohort's name.
        split: one split, or None for everybody.

    Raises:
        IntakeError: no such cohort, frozen under another schema, or an exam without the film that the
            model reads.
        WeightsError: the plan's encoder is not cached here, or the cohort was preprocessed otherwise.
    """
    return _split_of(site, plan, current_cohort(site, name), split)


def load_nobody(site: Site, plan: Plan, *, name: str) -> SplitData:
    """Nobody, where no such cohort was frozen yet; the work is that of a split of one.

    Raises:
        WeightsError: as ``load_split``.
    """
    pixels = plan.settings.cohort.image_pixels
    cohort = Cohort(
        folder=site.cohorts / name,
        name=name,
        version=0,
        schema=plan.settings.cohort,
        preprocessing=PREPROCESSING_VERSION,
        exams=(),
        images=np.zeros((0, pixels, pixels), dtype=np.float16),
        overviews=np.zeros((0, 1, 1), dtype=np.uint8),
        quarantined=(),
        files={},
        previous=None,
        shared_patients=frozenset(),
        fingerprint=hash_of({"nobody": name}),
    )
    return _split_of(site, plan, cohort, None)


def _split_of(site: Site, plan: Plan, cohort: Cohort, split: Split | None) -> SplitData:
    settings = plan.settings
    arrays = assemble(cohort, split, schema=settings.cohort, task=settings.task)
    has_encoder = settings.encoder.name != "none"
    is_frozen = settings.encoder.training == "frozen"
    places = film_places(site, plan) if settings.features.of_films else 0
    batch = batch_of(
        plan,
        cohort,
        arrays,
        tokens=load_tokens(site, plan, cohort) if settings.reads_tokens else no_tokens(cohort),
        films=None if is_frozen else _load_store(site, plan, cohort),
        film_columns=load_film_columns(site, settings, cohort, places=places),
    )
    if settings.features.of_films or (has_encoder and settings.fusion.name != "clinical_only"):
        _require_films(cohort, batch)
    return SplitData(cohort=cohort, arrays=arrays, batch=batch)


def batch_of(
    plan: Plan,
    cohort: Cohort,
    arrays: ExamArrays,
    *,
    tokens: Tokens | None = None,
    films: Tensor | None = None,
    film_columns: Tokens | None = None,
) -> PatientBatch:
    """Patients of a split as a padded batch, with these tokens, or these films, of the cohort's images.

    Args:
        plan: an approved plan.
        cohort: an opened cohort.
        arrays: of a split of it.
        tokens: as ``build_patients`` takes them, as are the others.
        films: likewise.
        film_columns: likewise.
    """
    settings = plan.settings
    return build_patients(
        fields=arrays.fields,
        field_mask=arrays.field_mask,
        target=standardise_target(arrays.target, settings.task),
        patient_index=arrays.patient_index,
        exam_films=[films if settings.reads_films else () for films in arrays.exam_films],
        film_order=cohort.film_keys(),
        exam_order=[exam.exam for exam in arrays.exams],
        tokens=tokens,
        film_columns=film_columns,
        films=films,
        film_makers=cohort.film_makers(),
        max_views=settings.caps.max_views,
        max_exams=settings.caps.max_exams,
    )


def no_tokens(cohort: Cohort) -> Tokens:
    """Of each row of ``cohort.images`` no token [n_films,0,0], for a model that reads none."""
    return np.zeros((len(cohort.images), 0, 0), dtype=np.float32)


def _load_store(site: Site, plan: Plan, cohort: Cohort) -> Tensor:
    """Films, or what an encoder's frozen blocks make of them."""
    if plan.settings.encoder.trained_blocks:
        return load_activations(site, plan, cohort)
    return load_films(cohort)


def _require_films(cohort: Cohort, batch: PatientBatch) -> None:
    """Refuse exams without a film: the model would learn from their clinical fields and say nothing."""
    if (batch.exam_mask & (batch.n_films() == 0)).any():
        raise IntakeError(
            "no-films",
            f"cohort {cohort.name} v{cohort.version} has exams without a film, which the model reads",
            hint="ingest the films too, or ask for a plan with encoder=none and fusion=clinical_only "
            "and the usual features",
        )
