"""Writes a phantom's hospital as a folder: films, table, masks, boxes of a spine, and what is true.

``films/*.dcm``, ``clinical.csv``, ``masks/*.png`` and ``boxes.csv`` are what an intake reads by the
phantom's cohort schema; ``truth.json`` is for tests. Masks have the visible bone of the film as it is
stored, boxes those vertebrae that can be seen.
Equal phantom, hospital and seed give equal bytes. Imports exams, settings; clinical_table,
dicom_writer, identity and wear of the package above.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from server.synthetic.clinical_table import Row, format_fields, write_table
from server.synthetic.dicom_writer import FilmHeader, encode_film, is_cr
from server.synthetic.exams import record_patient, site_generator
from server.synthetic.hip import Side
from server.synthetic.hospitals import DxaVendor, SyntheticSite, intake_profile
from server.synthetic.identity import Person, draw_person
from server.synthetic.look import FilmTags
from server.synthetic.phantoms.exams import PhantomExam, draw_exam
from server.synthetic.phantoms.settings import PhantomSettings, read_phantom, site_of
from server.synthetic.phantoms.table import UNITS
from server.synthetic.wear import Box, wear
from shared.machine.files import write_atomic

LEAST_SEEN = 0.5  # of a vertebra's box is bone that the film shows
_STREAM = 8  # of a site's generator; the others draw hips
# sBMD = b·BMD at the spine: Genant et al., J Bone Miner Res 1994;9:1503
SPINE_SCALE: dict[DxaVendor, float] = {"hologic": 1.0755, "lunar": 0.9522, "norland": 1.0761}


def write_hospital(
    folder: Path,
    phantom_name: str,
    hospital: str,
    seed: int,
    *,
    n_patients: int | None = None,
    pixel_mm: float | None = None,
) -> dict[str, object]:
    """Write films, rows and truth of a hospital's period; one exam and one film of each patient.

    Args:
        folder: created if absent; should be empty.
        phantom_name: a YAML in ``settings``.
        hospital: one of ``hospitals.yaml``.
        seed: equal seeds give equal bytes.
        n_patients: fewer than the hospital's own, for tests.
        pixel_mm: of a film, where it is not the phantom's.

    Returns:
        The truth, as it was written.
    """
    phantom = read_phantom(phantom_name)
    if pixel_mm is not None:
        film = phantom.film.model_copy(update={"pixel_mm": pixel_mm})
        phantom = phantom.model_copy(update={"film": film})
    site = site_of(hospital, phantom)
    for name in ("films", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    boxes: list[tuple[str, ...]] = []
    patients: list[dict[str, object]] = []
    for number in range(n_patients or site.n_patients):
        rng = site_generator(site, seed, _STREAM, number)
        person = draw_person(site, seed, number)
        exam = draw_exam(phantom, site, person.patient, rng)
        boxes += _write_film(folder, phantom, site, person, exam, rng)
        rows.append(_row(phantom, site, person, exam, rng))
        truth = {"patient_id": person.patient_id, "t_score": exam.t_score, **asdict(exam.film.truth)}
        patients.append(truth | {"label": rows[-1][phantom.label_column]})
    write_table(folder / "clinical.csv", site, rows, label_column=phantom.label_column)
    if phantom.anatomy in UNITS:
        _write_boxes(folder / "boxes.csv", site, boxes)
    truths = {"phantom": phantom_name, "site": hospital, "seed": seed, "patients": patients}
    (folder / "truth.json").write_text(json.dumps(truths, indent=1) + "\n", encoding="utf-8")
    return truths


def write_profile(path: Path, phantom_name: str, hospital: str) -> None:
    """Write what the hospital declares before an intake, as a simulation reads it beside a folder."""
    profile = phantom_profile(read_phantom(phantom_name), hospital)
    write_atomic(path, yaml.safe_dump(profile, sort_keys=False).encode())


def phantom_profile(phantom: PhantomSettings, hospital: str) -> dict[str, object]:
    """What the hospital declares; a DXA scanner only where BMD is the label."""
    profile = intake_profile(site_of(hospital, phantom))
    if phantom.finding is None:
        return profile | {"dxa_skeletal_site": "lumbar_spine"}
    return {name: value for name, value in profile.items() if not name.startswith("dxa_")}


def _row(
    phantom: PhantomSettings,
    site: SyntheticSite,
    person: Person,
    exam: PhantomExam,
    rng: np.random.Generator,
) -> Row:
    """The clinical row, some weeks after the film; a BMD is measured with DXA's error."""
    record = record_patient(site, exam.patient, rng)
    day = person.first_day + timedelta(days=int(rng.integers(0, 46)))
    row = format_fields(site, record, patient_id=person.patient_id, day=day, rng=rng)
    label = exam.film.truth.class_name
    if phantom.finding is None:
        measured = exam.film.truth.bmd_g_cm2 * (1 + site.dxa_precision * float(rng.normal()))
        label = f"{measured * SPINE_SCALE['hologic'] / SPINE_SCALE[site.dxa_vendor]:.3f}"
    return row | {phantom.label_column: label}


def _write_film(
    folder: Path,
    phantom: PhantomSettings,
    site: SyntheticSite,
    person: Person,
    exam: PhantomExam,
    rng: np.random.Generator,
) -> list[tuple[str, ...]]:
    """Write film and mask; the lines of the film's boxes."""
    film, name = exam.film, person.patient_id
    units = {unit: _box_of(film.parts[unit]) for unit in UNITS.get(phantom.anatomy, ())}
    worn = wear(film, site.look, rng, upright=phantom.film.upright, boxes=units)
    header = _header(phantom, site, person, exam, worn.tags, rng)
    (folder / "films" / f"{name}.dcm").write_bytes(encode_film(worn.pixels, header))
    Image.fromarray(worn.bone_mask).save(folder / "masks" / f"{name}.png")
    whole = {unit: tuple(round(edge) for edge in box) for unit, box in worn.boxes.items()}
    return [
        (name, unit, *map(str, box)) for unit, box in whole.items() if _is_seen(worn.bone_mask, box)
    ]


def _box_of(mask: NDArray[np.bool_]) -> Box:
    """The edges of the smallest box around a bone."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _is_seen(bone: NDArray[np.bool_], box: tuple[int, ...]) -> bool:
    """Whether a person would draw this box: bone is seen in most of it."""
    left, top, right, bottom = box
    seen = bone[max(0, top) : bottom, max(0, left) : right]
    return bool(seen.sum() >= LEAST_SEEN * (right - left) * (bottom - top))


def _write_boxes(path: Path, site: SyntheticSite, lines: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=site.separator, lineterminator="\n")
        writer.writerows([("film", "unit", "x0", "y0", "x1", "y1"), *lines])


def _header(
    phantom: PhantomSettings,
    site: SyntheticSite,
    person: Person,
    exam: PhantomExam,
    tags: FilmTags,
    rng: np.random.Generator,
) -> FilmHeader:
    names, shares = zip(*site.syntaxes, strict=True)
    is_legacy = bool(rng.random() < site.legacy_share)
    side: Side = "left" if exam.film.side == "left" else "right"
    settings = phantom.film
    return FilmHeader(
        patient_name=person.name,
        patient_id=person.patient_id,
        issuer=f"{site.name.upper()}-HOSPITAL",
        birth_day=person.birth_day,
        sex=exam.patient.sex,
        day=person.first_day,
        clock=f"{int(rng.integers(8, 18)):02d}{int(rng.integers(60)):02d}00",
        accession=f"X{int(rng.integers(10**9)):09d}",
        institution=f"{site.name.capitalize()} Hospital",
        side=side if settings.is_paired else "unpaired",
        view_position=settings.position if tags.has_view else "",
        # a CR object has no code for the part
        body_part=settings.body_part if tags.has_body_part or is_cr(tags, is_legacy=is_legacy) else "",
        scanner=site.scanners[0],
        syntax=names[int(rng.choice(len(names), p=shares))],
        # 2.25 roots of 124 random bits; the last two digits are left to the levels
        uid_root=int.from_bytes(rng.bytes(15), "big") * 16,
        tags=tags,
        is_for_processing=bool(rng.random() < site.for_processing_share),
        is_legacy=is_legacy,
        region=settings.region,
        description=f"X-RAY {settings.body_part}",
    )
