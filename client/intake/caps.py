"""How much of one patient a cohort holds: no more than any plan can take, chosen in a keyed order.

A round reads the whole cohort, so what one patient may add to its time and memory is bounded before the
cohort is frozen. Exams with a label come first, then the order is that of their keyed names, as a plan
chooses; so whatever a plan takes of all exams is among those that are kept. Pure; imports links.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from client.intake.link import FilmRecord, LinkedExam, Links
from shared.exam.schema import MOST_EXAMS, MOST_FILMS

OVER = "intake.over-cap"


def cap_patients(
    links: Links,
    *,
    name_of: Callable[[LinkedExam], str],
    most_exams: int = MOST_EXAMS,
    most_films: int = MOST_FILMS,
) -> Links:
    """The same links without what a patient has above the caps; each film and row of it has a code.

    A film of which some crops are kept and others not has the code as a choice.

    Args:
        links: exams of all patients.
        name_of: the keyed name of an exam, which says its place among those of its patient.
        most_exams: of a patient.
        most_films: of a patient, crops counted one by one; an exam that loses all of its films is left
            out.
    """
    of_patient: dict[str, list[LinkedExam]] = defaultdict(list)
    for exam in links.exams:
        of_patient[exam.row.patient_id].append(exam)
    exams = [
        kept
        for own in of_patient.values()
        for kept in _capped(own, name_of=name_of, most_exams=most_exams, most_films=most_films)
    ]
    kept_films = {film.scratch for film in _films(exams)}
    held = {film.item for film in _films(exams)}
    rows = {exam.row.number for exam in links.exams} - {exam.row.number for exam in exams}
    items = sorted({film.item for film in _films(links.exams) if film.scratch not in kept_films})
    return replace(
        links,
        exams=tuple(exams),
        film_codes={**links.film_codes, **{item: OVER for item in items if item not in held}},
        row_codes={**links.row_codes, **dict.fromkeys(sorted(rows), OVER)},
        choices=(*links.choices, *((item, OVER) for item in items if item in held)),
    )


def _capped(
    exams: list[LinkedExam],
    *,
    name_of: Callable[[LinkedExam], str],
    most_exams: int,
    most_films: int,
) -> Iterable[LinkedExam]:
    """One patient's exams within the caps, in the order in which they came."""
    if len(exams) <= most_exams and sum(len(exam.films) for exam in exams) <= most_films:
        return exams
    order = sorted(exams, key=lambda exam: (exam.row.label is None, name_of(exam)))
    first = {name_of(exam) for exam in order[:most_exams]}
    chosen = [exam for exam in exams if name_of(exam) in first]
    films = {film.scratch for film in sorted(_films(chosen), key=lambda film: film.film)[:most_films]}
    cut = [
        replace(exam, films=tuple(film for film in exam.films if film.scratch in films))
        for exam in chosen
    ]
    return [after for before, after in zip(chosen, cut, strict=True) if after.films or not before.films]


def _films(exams: Iterable[LinkedExam]) -> list[FilmRecord]:
    return [film for exam in exams for film in exam.films]
