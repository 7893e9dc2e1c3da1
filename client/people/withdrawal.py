"""A patient withdraws: out of every current cohort, staged film and token, and never taken in again.

A frozen version is never edited: the next is written without the person, and pages of those that hold
the person are deleted, as is what intakes remember of films. Older versions are evidence of
what earlier runs used; they keep the person until ``purge``, which deletes all that such a version
holds but its head without pseudonyms, so that its fingerprint can still be named. Ledger and member
lists keep the pseudonym: a charge is never given back, and an update that was released cannot be
recalled; the runs are listed. The names of files that were quarantined stay in the sealed linkage
file. Imports the site, the ledger and the cohort.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from client.cohort.folder import Cohort, Exam, latest_version, write_cohort
from client.cohort.token_cache import delete_tokens
from client.cohort.versions import empty_version, mark_purged, purged_versions, versions_holding
from client.gate.ledger import find_ledger
from client.site.folder import Site, require_person
from client.site.linkage import PatientKey
from shared.errors import IntakeError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.privacy.ledger_format import KEPT, RELEASED

# Under a cohort's name: the journal of intakes, and the unfinished version of one that was cut off.
_CUT_OFF = (".intake", ".intake.part", ".v*.part")
# What films of the latest intake said; the next one writes it without the person.
_FILM_WORDS = "film-words.json"


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """What became of one person's data; for the site's own eyes.

    ``kept`` and ``purged``: older versions ("name v1") that still hold the person, or held them.
    ``models``: runs whose released updates the person had a part in; they cannot be recalled.
    """

    n_exams: int
    n_films: int
    written: tuple[str, ...]
    kept: tuple[str, ...]
    purged: tuple[str, ...]
    models: tuple[str, ...]


def withdraw(
    site: Site, patient_id: str, *, by: str, issuer: str | None = None, purge: bool = False
) -> Withdrawal:
    """Take a person out of everything that a later run could use.

    Doing it again is harmless, and finishes what was interrupted. A number that was never taken in is
    remembered too, and kept out when it comes. The next intake reads every film again.

    Args:
        site: the opened site.
        patient_id: the hospital's number of the person.
        by: first and last name of the person who decides it.
        issuer: who issued the number; by default the issuer of the site's intake.
        purge: also delete older versions of cohorts that hold the person.

    Raises:
        PolicyError: no person is named as deciding.
        IntakeError: a cohort is damaged, or was made by another preprocessing; the person is kept out
            from now on, but is still in it.
        LedgerError: the ledger is damaged or gone, so that models cannot be listed; the person is out.
    """
    require_person(by)
    patient = key_of_number(site, patient_id, issuer=issuer)
    with site.linkage.held():
        site.linkage.withdraw(patient, by=by, now=site.clock())
        for fetched in site.staging.glob(f"*/{patient}"):
            shutil.rmtree(fetched)
        for pattern in _CUT_OFF:
            for unfinished in site.cohorts.glob(f"*/{pattern}"):
                shutil.rmtree(unfinished)
        for words in site.cohorts.glob(f"*/{_FILM_WORDS}"):
            words.unlink()
        holding = versions_holding(site, patient)
        current = [each for each in holding if each.version == latest_version(site.cohorts, each.name)]
        written = [_write_without(site, cohort, patient) for cohort in current]
        for cohort in holding:
            delete_tokens(site, cohort)
            site.page_file(cohort.name, cohort.version).unlink(missing_ok=True)
            if purge:
                mark_purged(site, cohort, by=by)
        for folder in purged_versions(site):
            empty_version(folder, patient)  # also what an interrupted purge has left
    gone = [exam for cohort in current for exam in cohort.exams_of(patient)]
    versions = tuple(_label(cohort) for cohort in holding)
    return Withdrawal(
        n_exams=len(gone),
        n_films=sum(len(exam.films) for exam in gone),
        written=tuple(_label(cohort) for cohort in written),
        kept=() if purge else versions,
        purged=versions if purge else (),
        models=models_that_saw(site, patient),
    )


def key_of_number(site: Site, patient_id: str, *, issuer: str | None) -> PatientKey:
    """The pseudonym of a hospital's number, blanks around it aside; ``issuer`` None: as at intake."""
    named = site.linkage.issuer_for(site.settings.profile.issuer) if issuer is None else issuer
    return site.pseudonyms.patient_key(named, patient_id.strip())


def models_that_saw(site: Site, patient: PatientKey) -> tuple[str, ...]:
    """Runs that a person trained in, whose updates left or whose weights stay: name, plan, rounds.

    Raises:
        LedgerError: the ledger is damaged or gone.
    """
    ledger = find_ledger(site)
    if ledger is None:
        return ()
    released = {row.charge_index for row in ledger.show() if row.status in (RELEASED, KEPT)}
    rounds = Counter(
        (row.run, row.plan_sha256)
        for row in ledger.charges_of(patient)
        if row.purpose == "train" and row.index in released
    )
    return tuple(
        f"{run} (plan {plan[:12]}, {n} round{'s' if n > 1 else ''})"
        for (run, plan), n in rounds.items()
    )


def _write_without(site: Site, cohort: Cohort, patient: PatientKey) -> Cohort:
    """The next version of a cohort, without one person."""
    if cohort.preprocessing != PREPROCESSING_VERSION:
        raise IntakeError(
            "other-preprocessing",
            f"cohort {_label(cohort)} was preprocessed by {cohort.preprocessing}, "
            f"this code writes {PREPROCESSING_VERSION}",
            hint="ingest again, which leaves the person out, then withdraw again",
        )
    exams: list[Exam] = []
    images: list[int] = []
    for exam in cohort.exams:
        if exam.patient == patient:
            continue
        first = len(images)
        images += [film.image for film in exam.films]
        films = tuple(replace(film, image=row) for row, film in enumerate(exam.films, first))
        exams.append(replace(exam, films=films))
    return write_cohort(
        site.cohorts,
        name=cohort.name,
        schema=cohort.schema,
        exams=exams,
        images=_rows(cohort.images, images),
        overviews=_rows(cohort.overviews, images if len(cohort.overviews) else []),
        quarantined=cohort.quarantined,
    )


def _rows(pictures: NDArray[Any], rows: list[int]) -> Iterator[NDArray[Any]]:
    for row in rows:
        yield pictures[row]


def _label(cohort: Cohort) -> str:
    return f"{cohort.name} v{cohort.version}"
