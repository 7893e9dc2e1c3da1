"""Patients of a site as the model takes them: the right cohort, the right split, tokens from the cache.

Imports the cohort, the token cache and ``PatientBatch``.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.site import Site
from client.tokens import load_tokens
from client.withdrawal import patients_of
from shared.errors import IntakeError
from shared.exam.assemble import ExamArrays, assemble
from shared.exam.cohort import Cohort, cohort_folder, latest_version, open_cohort
from shared.exam.split import PatientKey, Split
from shared.plan import Plan
from shared.train.patients import PatientBatch, build_patients, standardise_target


@dataclass(frozen=True)
class SplitData:
    """Exams of a split, and the same patients as a padded batch in the order of ``arrays.patients``."""

    cohort: Cohort
    arrays: ExamArrays
    batch: PatientBatch


def prospective_name(schema_name: str, lock_sha256: str) -> str:
    """Name of the cohort accrued under a lock."""
    return f"{schema_name}-after-{lock_sha256[:12]}"


def current_cohort(site: Site, name: str) -> Cohort:
    """The newest version of a cohort.

    Raises:
        IntakeError: none was ingested yet.
    """
    version = latest_version(site.cohorts, name)
    if version == 0:
        raise IntakeError(
            "no-cohort",
            f"site {site.name} has no cohort {name}",
            hint="`osteofed-site ingest` makes one, `accrue` one for prospective validation",
        )
    return open_cohort(cohort_folder(site.cohorts, name, version))


def ever_in_cohort(site: Site, name: str) -> frozenset[PatientKey]:
    """Patients of every version: one who left the newest may have trained from an older one.

    Raises:
        IntakeError: none was ingested yet.
    """
    newest = current_cohort(site, name)
    older = (cohort_folder(site.cohorts, name, number) for number in range(1, newest.version))
    return frozenset(newest.patients()).union(*(patients_of(folder) for folder in older))


def load_split(site: Site, plan: Plan, *, name: str, split: Split | None) -> SplitData:
    """Labelled patients of a split of a site's cohort, with at most the plan's views per patient.

    Args:
        site: the opened site.
        plan: an approved plan.
        name: the cohort's name.
        split: one split, or None for everybody.

    Raises:
        IntakeError: no such cohort, or frozen under another schema.
        WeightsError: the plan's encoder is not cached here.
    """
    cohort = current_cohort(site, name)
    settings = plan.settings
    arrays = assemble(cohort, split, schema=settings.cohort, task=settings.task)
    batch = build_patients(
        fields=arrays.fields,
        field_mask=arrays.field_mask,
        target=standardise_target(arrays.target, settings.task),
        patient_index=arrays.patient_index,
        exam_films=[films if plan.encoder_sha256 else () for films in arrays.exam_films],
        film_order=cohort.film_keys(),
        tokens=load_tokens(site, plan, cohort),
        max_views=settings.privacy.max_views,
    )
    return SplitData(cohort=cohort, arrays=arrays, batch=batch)
