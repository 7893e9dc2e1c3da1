"""Writes a synthetic hospital as a folder: ``films/*.dcm``, ``clinical.csv`` and ``truth.json``.

The first two are what an intake reads; ``truth.json`` says what was planted and is for tests only.
Equal site and seed give equal bytes. Imports this package and canonical.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.synthetic.clinical_table import Row, RowFaults, format_row, write_table
from server.synthetic.dicom_writer import FilmHeader, encode_film, encode_garbled_film, is_cr
from server.synthetic.exams import SyntheticExam, draw_exam, draw_second_visit, site_generator
from server.synthetic.follow_up import FollowUp
from server.synthetic.hip import Side
from server.synthetic.hospitals import SyntheticSite
from server.synthetic.identity import Person, draw_person, follow_person
from server.synthetic.look import FilmTags
from server.synthetic.population import grow_older
from server.synthetic.wear import wear

FILM_DEFECTS = ("truncated_films", "garbled_films", "not_dicom", "burned_in", "wrong_view")


@dataclass(frozen=True)
class TruePatient:
    """One planted patient; BMD on the Hologic scale in g/cm², per visit."""

    patient_id: str
    name: str
    birth_day: str
    defect: str
    days: tuple[str, ...]
    true_bmd: tuple[float, ...]
    measured_bmd: tuple[float, ...]


@dataclass(frozen=True)
class SyntheticTruth:
    """What a folder holds: counts of files, rows and planted defects, and every patient."""

    site: str
    seed: int
    n_files: int
    n_rows: int
    n_monochrome1: int
    n_legacy: int
    syntaxes: dict[str, int]
    planted: dict[str, int]
    n_seen_before: int
    patients: tuple[TruePatient, ...]


@dataclass(frozen=True)
class _Visit:
    exam: SyntheticExam
    day: date
    row_day: date


@dataclass(frozen=True)
class _WrittenFilm:
    syntax: str
    is_monochrome1: bool
    is_legacy: bool


def write_hospital(
    folder: Path, site: SyntheticSite, seed: int, *, has_masks: bool = False
) -> SyntheticTruth:
    """Write all films and rows of a site's period.

    Args:
        folder: created if absent; should be empty.
        site: who and what stands there.
        seed: equal seeds give equal bytes.
        has_masks: whether somebody has drawn the bone that each film shows: ``masks/*.png``.
    """
    plan = plan_defects(site, seed)
    people = [draw_person(site, seed, number) for number in range(site.n_patients)]
    return _write(folder, site, seed, people, plan, is_later=False, has_masks=has_masks)


def write_later_films(
    folder: Path,
    site: SyntheticSite,
    seed: int,
    first_day: date,
    *,
    n_new: int = 60,
    n_seen: int = 5,
    n_days: int = 90,
) -> SyntheticTruth:
    """Write films and rows acquired from ``first_day`` on, within ``n_days``.

    Args:
        folder: another folder than the period's own.
        site: as for ``write_hospital``, with the same ``seed``, so that seen patients are the same.
        seed: the seed of the site's period.
        first_day: films are acquired on this day or after it.
        n_new: patients never seen before.
        n_seen: patients of the period who come again; a prospective intake must leave them out.
        n_days: length of the later period.
    """
    rng = site_generator(site, seed, 3)
    days = [first_day + timedelta(days=int(day)) for day in rng.integers(0, n_days, n_new + n_seen)]
    people = [
        draw_person(site, seed, site.n_patients + index, first_day=days[index])
        for index in range(n_new)
    ]
    plan = plan_defects(site, seed)
    sound = [number for number in range(site.n_patients) if number not in plan][:n_seen]
    people += [
        replace(draw_person(site, seed, number), first_day=days[n_new + index])
        for index, number in enumerate(sound)
    ]
    return _write(folder, site, seed, people, {}, is_later=True)


def plan_defects(site: SyntheticSite, seed: int) -> dict[int, str]:
    """Patient number → its defect; every other patient is sound."""
    numbers = iter(site_generator(site, seed, 0).permutation(site.n_patients).tolist())
    return {
        next(numbers): defect for defect, count in asdict(site.defects).items() for _ in range(count)
    }


def _write(
    folder: Path,
    site: SyntheticSite,
    seed: int,
    people: list[Person],
    plan: dict[int, str],
    *,
    is_later: bool,
    has_masks: bool = False,
) -> SyntheticTruth:
    (folder / "films").mkdir(parents=True, exist_ok=True)
    masks = folder / "masks" if has_masks else None
    if masks is not None:
        masks.mkdir(exist_ok=True)
    rows: list[Row] = []
    films: list[_WrittenFilm] = []
    truths: list[TruePatient] = []
    for person in people:
        defect = plan.get(person.number, "")
        rng = site_generator(site, seed, 4 if is_later else 2, person.number)
        if defect == "under_age":
            person = _make_younger(person, rng)
        visits = list(_draw_visits(site, person, rng, is_simple=bool(defect) or is_later))
        end = follow_person(site, seed, person, visits[0].exam.patient, since=visits[0].row_day)
        # nobody comes again after the end
        visits = [each for each in visits if not each.exam.visit or not end or each.row_day < end.day]
        for visit in visits:
            if defect != "rows_without_film":
                films += _write_films(folder / "films", masks, site, person, visit, defect, rng)
            rows += _rows(site, person, visit, end, defect, rng)
        truths.append(_describe(person, visits, defect))
    order = site_generator(site, seed, 5).permutation(len(rows))
    write_table(folder / "clinical.csv", site, [rows[index] for index in order])
    truth = SyntheticTruth(
        site=site.name,
        seed=seed,
        n_files=len(list((folder / "films").iterdir())),
        n_rows=len(rows),
        n_monochrome1=sum(film.is_monochrome1 for film in films),
        n_legacy=sum(film.is_legacy for film in films),
        syntaxes=dict(sorted(Counter(film.syntax for film in films).items())),
        planted=dict(sorted(Counter(plan.values()).items())),
        n_seen_before=sum(is_later and person.number < site.n_patients for person in people),
        patients=tuple(truths),
    )
    (folder / "truth.json").write_text(json.dumps(asdict(truth), indent=1) + "\n", encoding="utf-8")
    return truth


def _make_younger(person: Person, rng: np.random.Generator) -> Person:
    age = float(rng.uniform(38.0, 49.0))
    return replace(
        person,
        patient=replace(person.patient, age_years=age),
        birth_day=person.first_day - timedelta(days=int(age * 365.25)),
    )


def _draw_visits(
    site: SyntheticSite, person: Person, rng: np.random.Generator, *, is_simple: bool
) -> Iterator[_Visit]:
    """One visit, or two; a simple one has one film, so that its defect has one consequence."""
    day = person.first_day
    # a known patient who comes again later has aged since the person was drawn
    years = (day - person.birth_day).days / 365.25 - person.patient.age_years
    exam = draw_exam(
        site,
        grow_older(person.patient, years, rng) if years > 0.1 else person.patient,
        person.number,
        rng,
        anatomy_seed=person.anatomy_seed,
        sides=("left",) if is_simple else None,
    )
    yield _Visit(exam, day, day + timedelta(days=int(rng.integers(0, 46))))
    if not is_simple and rng.random() < site.repeat_share:
        years = float(rng.uniform(1.0, 1.9))
        again = draw_second_visit(site, exam, years, rng, anatomy_seed=person.anatomy_seed)
        later = day + timedelta(days=int(years * 365.25))
        yield _Visit(again, later, later + timedelta(days=int(rng.integers(0, 46))))


def _write_films(
    folder: Path,
    masks: Path | None,
    site: SyntheticSite,
    person: Person,
    visit: _Visit,
    defect: str,
    rng: np.random.Generator,
) -> list[_WrittenFilm]:
    written = []
    for film in visit.exam.films:
        worn = wear(film, site.look, rng)
        header = _header(site, person, visit, film.side, worn.tags, defect, rng)
        data = _encode(worn.pixels, header, defect, rng)
        stem = f"{person.patient_id}_{visit.exam.visit + 1}{film.side[0].upper()}"
        (folder / f"{stem}.dcm").write_bytes(data)
        if masks is not None:
            Image.fromarray(worn.bone_mask).save(masks / f"{stem}.png")
        if defect == "duplicate_films":
            (folder / f"{stem}_copy.dcm").write_bytes(data)
        if defect not in ("truncated_films", "garbled_films", "not_dicom"):
            copies = 2 if defect == "duplicate_films" else 1
            kept = _WrittenFilm(
                header.syntax,
                header.tags.is_monochrome1,
                is_cr(header.tags, is_legacy=header.is_legacy),
            )
            written += [kept] * copies
    return written


def _encode(
    pixels: NDArray[np.uint16], header: FilmHeader, defect: str, rng: np.random.Generator
) -> bytes:
    if defect == "not_dicom":
        return b"This export failed: see the archive's log.\n"
    if defect == "garbled_films":
        return encode_garbled_film(pixels, header, rng)
    data = encode_film(pixels, header)
    return data[: len(data) // 2] if defect == "truncated_films" else data


def _header(
    site: SyntheticSite,
    person: Person,
    visit: _Visit,
    side: Side,
    tags: FilmTags,
    defect: str,
    rng: np.random.Generator,
) -> FilmHeader:
    names, shares = zip(*site.syntaxes, strict=True)
    syntax = names[int(rng.choice(len(names), p=shares))]
    if defect == "garbled_films":
        syntax = "jpeg_2000"
    elif defect == "truncated_films":
        syntax = "explicit"
    is_legacy = bool(rng.random() < site.legacy_share) and defect != "wrong_view"
    # a CR series may name a side only of a paired part (PS3.3 C.7.3.1), and has no code for the part
    is_plain = is_cr(tags, is_legacy=is_legacy)
    part = "HIP" if rng.random() < 0.85 or is_plain else "PELVIS"
    return FilmHeader(
        patient_name=person.name,
        patient_id=person.patient_id,
        issuer=f"{site.name.upper()}-HOSPITAL",
        birth_day=person.birth_day,
        sex=person.patient.sex,
        day=visit.day,
        clock=f"{int(rng.integers(8, 18)):02d}{int(rng.integers(60)):02d}00",
        accession=f"X{int(rng.integers(10**9)):09d}",
        institution=f"{site.name.capitalize()} Hospital",
        side=side,
        view_position="LATERAL" if defect == "wrong_view" else "AP" if tags.has_view else "",
        body_part=part if tags.has_body_part or is_plain else "",
        scanner=visit.exam.scanner,
        syntax=syntax,
        # 2.25 roots of 124 random bits; the last two digits are left to the levels
        uid_root=int.from_bytes(rng.bytes(15), "big") * 16,
        tags=tags,
        is_for_processing=bool(rng.random() < site.for_processing_share),
        is_legacy=is_legacy,
        is_burned_in=defect == "burned_in",
    )


def _rows(
    site: SyntheticSite,
    person: Person,
    visit: _Visit,
    follow_up: FollowUp | None,
    defect: str,
    rng: np.random.Generator,
) -> list[Row]:
    if defect == "films_without_row":
        return []
    row = format_row(
        site,
        visit.exam,
        patient_id=person.patient_id,
        day=visit.row_day,
        rng=rng,
        follow_up=follow_up,
        faults=RowFaults(
            lacks_required=defect == "missing_required",
            lacks_label=defect == "missing_label",
            has_unknown_unit=defect == "unknown_unit",
            has_value_out_of_range=defect == "value_out_of_range",
            has_bmd_in_mg=defect == "bmd_in_mg",
        ),
    )
    return [row, dict(row)] if defect == "duplicate_rows" else [row]


def _describe(person: Person, visits: list[_Visit], defect: str) -> TruePatient:
    return TruePatient(
        patient_id=person.patient_id,
        name=person.name,
        birth_day=person.birth_day.isoformat(),
        defect=defect,
        days=tuple(visit.day.isoformat() for visit in visits),
        true_bmd=tuple(visit.exam.patient.bmd_g_cm2 for visit in visits),
        measured_bmd=tuple(visit.exam.bmd_g_cm2 for visit in visits),
    )
