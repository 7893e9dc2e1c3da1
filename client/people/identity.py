"""Who is behind a pseudonym, and the other way round: at the site, by a named person, always noted.

``log/identities.jsonl`` gets a line before anything is shown: when, who asked, about which pseudonym;
never the identity. Imports the site and the cohorts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from client.cohort.versions import versions_holding
from client.people.withdrawal import key_of_number
from client.site.folder import Site, require_person
from client.site.linkage import Identity, PatientKey
from shared.errors import IntakeError
from shared.machine.files import append_line

IDENTITY_LOG = Path("log") / "identities.jsonl"
Question = Literal["who is this", "find this"]
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class KnownPatient:
    """One person in this site's records. Neither number nor issuer shows in its repr.

    ``n_exams`` and ``n_films`` are different ones over all versions of cohorts that hold the person.
    """

    pseudonym: PatientKey
    identity: Identity | None = field(repr=False)
    has_withdrawn: bool
    has_staged_films: bool
    n_exams: int
    n_films: int
    cohorts: tuple[str, ...]

    @property
    def is_nobody(self) -> bool:
        """Whether nothing here is about this person."""
        is_known = self.identity is not None or self.has_withdrawn or self.has_staged_films
        return not (is_known or self.cohorts)


def name_patient(site: Site, pseudonym: str, *, by: str) -> KnownPatient:
    """The person behind a pseudonym.

    Raises:
        PolicyError: nobody is named as asking.
        IntakeError: not a pseudonym, or this site knows nobody of it.
    """
    require_person(by)
    patient = PatientKey(pseudonym.strip().lower())
    if not _PSEUDONYM.fullmatch(patient):  # it may be a patient's number: neither noted nor repeated
        raise IntakeError(
            "not-a-pseudonym",
            "a pseudonym has 32 hexadecimal digits, and this is none",
            hint="copy it from a cohort page; look a hospital number up with --find",
        )
    _note(site, patient, by=by, question="who is this")
    found = _known(site, patient)
    if found.identity is None and not found.has_withdrawn:
        raise IntakeError(
            "unknown-pseudonym",
            "this site knows nobody of that pseudonym",
            hint="compare it with the cohort page; identities are forgotten after a purge",
        )
    return found


def find_patient(site: Site, patient_id: str, *, by: str, issuer: str | None = None) -> KnownPatient:
    """The pseudonym of a person, and where in this site's records it occurs.

    Args:
        site: the opened site.
        patient_id: the hospital's number of the person.
        by: first and last name of the person who asks.
        issuer: who issued the number; by default the issuer of the site's intake.

    Raises:
        PolicyError: nobody is named as asking.
    """
    require_person(by)
    patient = key_of_number(site, patient_id, issuer=issuer)
    _note(site, patient, by=by, question="find this")
    return _known(site, patient)


def _known(site: Site, patient: PatientKey) -> KnownPatient:
    holding = versions_holding(site, patient)
    exams = [exam for cohort in holding for exam in cohort.exams_of(patient)]
    return KnownPatient(
        pseudonym=patient,
        identity=site.linkage.identity_of(patient),
        has_withdrawn=site.linkage.is_withdrawn(patient),
        has_staged_films=any(site.staging.glob(f"*/{patient}")),
        n_exams=len({exam.exam for exam in exams}),
        n_films=len({film.film for exam in exams for film in exam.films}),
        cohorts=tuple(f"{cohort.name} v{cohort.version}" for cohort in holding),
    )


def _note(site: Site, patient: PatientKey, *, by: str, question: Question) -> None:
    line = {"utc": site.clock().isoformat(), "by": by, "question": question, "pseudonym": patient}
    append_line(site.folder / IDENTITY_LOG, json.dumps(line).encode() + b"\n")
