"""What an intake would change against the version before: a half-mounted archive must not go unseen.

Imports the cohort and the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.cohort.folder import Cohort, Exam, cohort_folder, latest_version, open_cohort
from client.site.linkage import PatientKey
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema, schema_differences


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Exams against those of the version before, each in one of the counts.

    ``changed`` have other values or more films, ``fewer_films`` lost some; ``missing`` are no longer
    there; ``left_out`` are not there because their patient withdrew or is excluded by the rule.
    """

    added: int
    changed: int
    unchanged: int
    fewer_films: int
    missing: int
    left_out: int

    @property
    def n_lost(self) -> int:
        """Exams of which something would be gone without anybody having asked for it."""
        return self.missing + self.fewer_films


def version_before(store: Path, name: str, schema: CohortSchema) -> Cohort | None:
    """The newest version. A patient never changes sides: who trained must not validate the next model.

    Raises:
        IntakeError: it was split otherwise, its schema was changed under the same version, or it is
            damaged.
    """
    version = latest_version(store, name)
    if not version:
        return None
    before = open_cohort(cohort_folder(store, name, version))
    if before.schema.split != schema.split:
        raise IntakeError(
            "split-changed",
            f"cohort {name} v{version} was split by {before.schema.split.model_dump()}, "
            f"the schema now says {schema.split.model_dump()}",
            hint="keep the split of the first version; training patients must not turn into held-out",
        )
    changed = schema_differences(before.schema, schema)
    if changed and "version" not in changed and before.schema.name == schema.name:
        raise IntakeError(
            "schema-changed",
            f"cohort {name} v{version} was frozen under version {schema.version} of schema "
            f"{schema.name}, which now differs in {', '.join(changed)}",
            hint="raise `version` in the schema: one version means one thing at every hospital",
        )
    return before


def refuse_moved(before: Cohort | None, exams: Sequence[Exam]) -> None:
    """Refuse patients who would change sides: by the table's own column, or since others came.

    Raises:
        IntakeError: there are some.
    """
    sides = {exam.patient: exam.split for exam in before.exams} if before else {}
    moved = {exam.patient for exam in exams if sides.get(exam.patient, exam.split) != exam.split}
    if moved:
        raise IntakeError(
            "split-moved",
            f"{len(moved)} patients would move to another split than they had before",
            hint="who trained must not validate: keep each patient's split in the table, and take "
            "nobody in later under split.stratified",
        )


def compare_exams(
    before: Cohort | None, exams: Sequence[Exam], *, is_left_out: Callable[[PatientKey], bool]
) -> Changes:
    """Count what differs between a version and the exams that would be the next one."""
    old = {exam.exam: exam for exam in before.exams} if before else {}
    new = {exam.exam: exam for exam in exams}
    gone = [exam for key, exam in old.items() if key not in new]
    left_out = sum(is_left_out(exam.patient) for exam in gone)
    kept = [(old[key], exam) for key, exam in new.items() if key in old]
    fewer_films = sum(len(after.films) < len(earlier.films) for earlier, after in kept)
    unchanged = sum(_content(after) == _content(earlier) for earlier, after in kept)
    return Changes(
        added=len(new) - len(kept),
        changed=len(kept) - unchanged - fewer_films,
        unchanged=unchanged,
        fewer_films=fewer_films,
        missing=len(gone) - left_out,
        left_out=left_out,
    )


def _content(exam: Exam) -> Exam:
    """An exam without the numbers of its images, which change with every exam before it."""
    films = sorted((replace(film, image=0) for film in exam.films), key=lambda film: film.film)
    return replace(exam, films=tuple(films))
