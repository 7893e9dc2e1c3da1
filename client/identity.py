"""Who is behind a pseudonym, and the other way round: at the site, by a named person, always noted.

``log/identities.jsonl`` gets a line before anything is shown: when, who asked, about which pseudonym;
never the identity. Imports the site and the cohorts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from client.linkage import Identity
from client.site import Site, require_person
from client.withdrawal import models_that_saw, patients_of
from shared.errors import IntakeError
from shared.exam.split import PatientKey
from shared.files import append_line

IDENTITY_LOG = Path("log") / "identities.jsonl"
Question = Literal["who is this", "find this"]


@dataclass(frozen=True, kw_only=True)
class KnownPatient:
    """One person in this site's records. Neither number nor issuer shows in its repr."""

    pseudonym: str
    identity: Identity | None = field(repr=False)
    has_withdrawn: bool
    cohorts: tuple[str, ...]
    models: tuple[str, ...]


def name_patient(site: Site, pseudonym: str, *, by: str) -> KnownPatient:
    """The person behind a pseudonym.

    Raises:
        PolicyError: nobody is named as asking.
        IntakeError: this site knows nobody of that pseudonym.
    """
    require_person(by)
    patient = PatientKey(pseudonym.strip().lower())
    _note(site, patient, by=by, question="who is this")
    found = _known(site, patient)
    if found.identity is None and not found.has_withdrawn:
        raise IntakeError(
            "unknown-pseudonym",
            "this site knows nobody of that pseudonym",
            hint="give all 32 digits; identities are forgotten after a purge",
        )
    return found


def find_patient(site: Site, patient_id: str, *, by: str, issuer: str | None = None) -> KnownPatient:
    """The pseudonym of a person, and where in this site's records it occurs.

    Args:
        site: the opened site.
        patient_id: the hospital's number of the person.
        by: first and last name of who asks.
        issuer: who issued the number; by default the issuer of the site's intake.

    Raises:
        PolicyError: nobody is named as asking.
    """
    require_person(by)
    named = site.linkage.issuer_for(site.settings.profile.issuer) if issuer is None else issuer
    patient = site.pseudonyms.patient_key(named, patient_id.strip())
    _note(site, patient, by=by, question="find this")
    return _known(site, patient)


def _known(site: Site, patient: PatientKey) -> KnownPatient:
    holding = [
        f"{folder.parent.name} {folder.name}"
        for folder in sorted(site.cohorts.glob("*/v*"))
        if patient in patients_of(folder)
    ]
    return KnownPatient(
        pseudonym=patient,
        identity=site.linkage.identity_of(patient),
        has_withdrawn=site.linkage.is_withdrawn(patient),
        cohorts=tuple(holding),
        models=models_that_saw(site, patient),
    )


def _note(site: Site, patient: PatientKey, *, by: str, question: Question) -> None:
    line = {"utc": site.clock().isoformat(), "by": by, "question": question, "pseudonym": patient}
    append_line(site.folder / IDENTITY_LOG, json.dumps(line).encode() + b"\n")
