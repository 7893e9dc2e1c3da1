"""Which films and which row make an exam: same patient, nearest row in time, one exam per film date.

Pure: it sees records without pixels. Imports quarantine and clinical only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from client.cohort.quarantine import CodeCount
from client.intake.clinical import ClinicalRow
from shared.exam.pixels import Framing


@dataclass(frozen=True, kw_only=True)
class FilmRecord:
    """A readable film without its pixels; ``scratch`` is the row where they wait.

    ``has_mask``: whether its bone is given.
    """

    item: str
    scratch: int
    film: str
    view: str
    laterality: str | None
    pixel_mm: tuple[float, float] | None
    framing: Framing
    manufacturer: str
    presentation_intent: str
    has_mask: bool = False
    patient_id: str = field(repr=False)
    day: date = field(repr=False)


@dataclass(frozen=True)
class LinkedExam:
    """A row with the films of one date, in the order of their keyed names; none without views."""

    row: ClinicalRow
    day: date = field(repr=False)
    films: tuple[FilmRecord, ...]


@dataclass(frozen=True)
class Links:
    """Exams, and a code for each film (by item) and row (by number) that belongs to none.

    ``choices``: a code for each exam, by the item of its first film, that could have another row.
    """

    exams: tuple[LinkedExam, ...]
    film_codes: Mapping[str, str]
    row_codes: Mapping[int, str]
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """How films and rows met. Films and rows that met nobody are in quarantine, too.

    ``films_of_nobody`` have no row of their patient, ``films_too_far`` none near enough; ``rows_only``
    have no film; ``several_rows`` are exams for which more than one row was near enough, of
    ``shared_rows`` are those whose row serves another date as well.
    """

    exams: int
    films_of_nobody: int
    films_too_far: int
    rows_only: int
    several_rows: int
    shared_rows: int


def reconcile(n_exams: int, counts: Iterable[CodeCount]) -> Reconciliation:
    """The report of the links, from an intake's or a cohort's quarantine counts."""
    number = {(count.kind, count.code): count.n for count in counts}
    return Reconciliation(
        exams=n_exams,
        films_of_nobody=number.get(("film", "intake.unknown-patient"), 0),
        films_too_far=number.get(("film", "intake.missing-row"), 0),
        rows_only=number.get(("row", "intake.missing-film"), 0),
        several_rows=number.get(("link", "intake.several-rows"), 0),
        shared_rows=number.get(("link", "intake.shared-row"), 0),
    )


def link_films(
    films: Sequence[FilmRecord],
    rows: Sequence[ClinicalRow],
    *,
    max_days: int,
    rejected_rows: Mapping[str, str],
) -> Links:
    """Join films to the nearest row of their patient within ``max_days``; ties take the earlier row.

    A row may serve several film dates: each is an exam of its own.

    Args:
        films: usable films.
        rows: usable rows.
        max_days: largest distance between film and row.
        rejected_rows: patient number → code of a row that was quarantined; its films get that code.
    """
    rows_of: dict[str, list[ClinicalRow]] = defaultdict(list)
    for row in rows:
        rows_of[row.patient_id].append(row)
    groups: dict[tuple[str, date], list[FilmRecord]] = defaultdict(list)
    for film in films:
        groups[film.patient_id, film.day].append(film)
    exams: list[LinkedExam] = []
    film_codes: dict[str, str] = {}
    choices: list[tuple[str, str]] = []
    for (patient_id, day), group in groups.items():
        near = _by_distance(rows_of[patient_id], day, max_days)
        if not near:
            missing = "missing-row" if rows_of[patient_id] else "unknown-patient"
            code = rejected_rows.get(patient_id, f"intake.{missing}")
            film_codes |= {film.item: code for film in group}
            continue
        exams.append(LinkedExam(near[0], day, tuple(sorted(group, key=lambda film: film.film))))
        if len(near) > 1:
            choices.append((exams[-1].films[0].item, "intake.several-rows"))
    used = Counter(exam.row.number for exam in exams)
    row_codes = {row.number: "intake.missing-film" for row in rows if row.number not in used}
    choices += [
        (exam.films[0].item, "intake.shared-row") for exam in exams if used[exam.row.number] > 1
    ]
    return Links(tuple(exams), film_codes, row_codes, tuple(choices))


def _by_distance(rows: Sequence[ClinicalRow], day: date, max_days: int) -> list[ClinicalRow]:
    near = [row for row in rows if abs((row.day - day).days) <= max_days]
    return sorted(near, key=lambda row: (abs((row.day - day).days), row.day))
