"""Which patients an intake loses, each under one cause: what its limit is counted in.

A patient is lost who has no exam, and whom no rule leaves out. The cause is the code of their row, or,
where the row lacks nothing but a film, that of the film that was there and could not be used. Pure;
imports the quarantine's codes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from client.cohort.quarantine import CODES, Quarantined

NO_FILM = "intake.missing-film"


@dataclass(frozen=True)
class Trace:
    """A code that a film or a row of a patient has."""

    patient_id: str = field(repr=False)
    kind: Literal["film", "row"]
    code: str


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Patients with an exam, and the cause of each patient who is lost.

    ``nameless_rows``: rows that name no patient, by code, each counted as one. ``nameless_films``:
    films that name none; whose they are is lost by a row without film.
    """

    n_kept: int
    causes: Mapping[str, str] = field(repr=False)
    nameless_rows: Mapping[str, int]
    nameless_films: Mapping[str, int]

    @property
    def by_code(self) -> dict[str, int]:
        """Lost patients by cause, the commonest first."""
        return dict((Counter(self.causes.values()) + Counter(self.nameless_rows)).most_common())

    @property
    def fraction(self) -> float:
        """Share of lost patients among those who should have an exam."""
        n_lost = sum(self.by_code.values())
        return n_lost / max(n_lost + self.n_kept, 1)


def find_losses(
    kept: Iterable[str],
    quarantined: Sequence[Quarantined],
    patients: Mapping[str, str],
    rejected: Mapping[str, str],
) -> Losses:
    """Who is lost.

    Args:
        kept: patient numbers with an exam.
        quarantined: what was not used.
        patients: whose a film or row is, by item; nobody knows of the others.
        rejected: patient number → code of a row of theirs that cannot be interpreted.
    """
    traces = [
        Trace(patients[entry.item], entry.kind, entry.code)
        for entry in quarantined
        if entry.item in patients and (entry.kind == "film" or entry.kind == "row")
    ]
    traces += [Trace(patient_id, "row", code) for patient_id, code in rejected.items() if patient_id]
    nameless = [entry for entry in quarantined if entry.item not in patients]
    known = set(kept)
    return Losses(
        n_kept=len(known),
        causes=_causes([trace for trace in traces if trace.patient_id not in known]),
        nameless_rows=Counter(
            entry.code
            for entry in nameless
            if entry.kind == "row" and entry.code in ("intake.malformed-row", "intake.missing-patient")
        ),
        nameless_films=Counter(
            entry.code for entry in nameless if entry.kind == "film" and CODES[entry.code].is_loss
        ),
    )


def mark_costs(
    quarantined: Sequence[Quarantined], patients: Mapping[str, str], losses: Losses
) -> list[Quarantined]:
    """The quarantine, with each film marked that is the cause of a patient's loss."""
    return [
        replace(entry, costs_patient=True)
        if entry.kind == "film" and losses.causes.get(patients.get(entry.item, "")) == entry.code
        else entry
        for entry in quarantined
    ]


def _causes(traces: Sequence[Trace]) -> dict[str, str]:
    films: dict[str, list[str]] = defaultdict(list)
    rows: dict[str, list[str]] = defaultdict(list)
    for trace in traces:
        (films if trace.kind == "film" else rows)[trace.patient_id].append(trace.code)
    found = {each: _cause(films[each], rows[each]) for each in films.keys() | rows.keys()}
    return {patient_id: cause for patient_id, cause in found.items() if cause}


def _cause(films: Sequence[str], rows: Sequence[str]) -> str:
    """The code of a patient's loss; empty for one whom a rule leaves out, or nobody asked for."""
    of_rows = [code for code in rows if code != NO_FILM and CODES[code].is_loss]
    if of_rows:
        return _commonest(of_rows)
    lacks_film = NO_FILM in rows
    if rows and not lacks_film:
        return ""
    of_films = [code for code in films if not CODES[code].is_rule]
    losses = [code for code in of_films if CODES[code].is_loss] or (of_films if lacks_film else [])
    if losses:
        return _commonest(losses)
    return NO_FILM if lacks_film and not films else ""


def _commonest(codes: Sequence[str]) -> str:
    return min(codes, key=lambda code: (-codes.count(code), code))
