"""The versions of a site's cohorts: which is the newest, who is in them, who was before a purge.

A version is never edited; a person who withdraws leaves the newest by the next one, and older ones
only by a purge, which leaves a note of who else was in them. Imports the cohort folder and the site.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from client.cohort.folder import (
    Cohort,
    cohort_folder,
    keep_head_only,
    latest_version,
    open_cohort,
)
from client.site.folder import Site
from client.site.linkage import PatientKey
from shared.errors import IntakeError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json

# In a version that was purged: who else was in it, and so must not be validated on.
PURGED_FILE = "purged.json"


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


def versions_holding(site: Site, patient: PatientKey) -> list[Cohort]:
    """Versions of cohorts that hold a person, purged ones left out.

    Raises:
        IntakeError: a version is damaged.
    """
    names = sorted(path.name for path in site.cohorts.glob("*") if path.is_dir())
    return [cohort for name in names for cohort in _versions(site, name) if cohort.exams_of(patient)]


def patients_of(folder: Path) -> frozenset[PatientKey]:
    """Who is in a version of a cohort, or was in it before it was purged.

    Raises:
        IntakeError: not a cohort folder, or damaged.
    """
    if not (folder / PURGED_FILE).exists():
        return frozenset(open_cohort(folder).patients())
    try:
        return frozenset(json.loads((folder / PURGED_FILE).read_bytes())["patients"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntakeError(
            "unreadable-cohort",
            f"{folder.name}/{PURGED_FILE} cannot be read: {type(error).__name__}",
            hint="restore it from backup: it says who must not be validated on",
        ) from None


def purged_versions(site: Site) -> list[Path]:
    """Folders of versions that were marked as purged, emptied or not."""
    return [mark.parent for mark in site.cohorts.glob(f"*/*/{PURGED_FILE}")]


def mark_purged(site: Site, cohort: Cohort, *, by: str) -> None:
    """Note who else was in a version: they may have trained, and are not to be validated on.

    Args:
        by: first and last name of the person who decides it.
    """
    others = [key for key in cohort.patients() if not site.linkage.is_withdrawn(key)]
    note = {"version": 1, "patients": others, "by": by, "utc": site.clock().isoformat()}
    write_atomic(cohort.folder / PURGED_FILE, canonical_json(note), mode=0o600)


def empty_version(folder: Path, patient: PatientKey) -> None:
    """Leave of a purged version its head without pseudonyms, and the note without one person."""
    keep_head_only(folder, besides=PURGED_FILE)
    if patient in patients_of(folder):
        note = json.loads((folder / PURGED_FILE).read_bytes())
        note["patients"].remove(patient)
        write_atomic(folder / PURGED_FILE, canonical_json(note), mode=0o600)


def _versions(site: Site, name: str) -> Iterator[Cohort]:
    for number in range(1, latest_version(site.cohorts, name) + 1):
        folder = cohort_folder(site.cohorts, name, number)
        if folder.exists() and not (folder / PURGED_FILE).exists():
            yield open_cohort(folder)
