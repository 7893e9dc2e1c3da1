"""Crops of worn spines: what was marked on the clean film lies in the middle of its crop.

The path is independent of the code that is tested: a disc is drawn on a phantom's vertebra, the film is
worn (turned, flipped, with borders, of unequal pixels) and stored as DICOM, and the disc is looked for.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from practice_intake import check_sums, counts_of, take_in
from practice_masks import write_png, write_seg
from pydicom import dcmread

from client.cohort.folder import Cohort, StoredFilm
from client.cohort.framing import count_framing
from client.cohort.masks import crop_masks, has_mask, load_masks
from client.intake.ingest import IntakeReport
from client.site.profile import SiteProfile
from server.federation.compose import cohort_file
from server.synthetic.look import FilmLook
from server.synthetic.phantoms import folder as phantom_folder
from server.synthetic.phantoms.exams import draw_exam
from server.synthetic.phantoms.folder import phantom_profile, write_hospital
from server.synthetic.phantoms.settings import read_phantom, site_of
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema, read_schema

WORN = FilmLook(
    turned=0.7, flipped=0.5, border=0.4, padding=0.2, canvas=0.2, shutter=0.2, unequal_pixels=0.3,
    monochrome1=0.5, marker=0.0, word=0.0, metal=0.0, no_orientation=0.0,
)  # fmt: skip
MARKED, N = "L2", 10
VERTEBRAE = read_schema(cohort_file("spine_vertebrae"))
UNITS = VERTEBRAE.crops.units
PROFILE = SiteProfile.model_validate(phantom_profile(read_phantom("spine"), "alder"))


def schema_of(**rule: object) -> CohortSchema:
    """The shipped schema with another rule of crops."""
    crops = VERTEBRAE.crops.model_copy(update=rule)
    return VERTEBRAE.model_copy(update={"crops": crops, "max_lost_fraction": 1.0})


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Worn spines with a disc of 3 mm in the middle of L2's box, and the boxes of their vertebrae."""
    source = tmp_path_factory.mktemp("marked")

    def marked(*asked: object):
        exam = draw_exam(*asked)
        film = exam.film
        rows, columns = (np.flatnonzero(film.parts[MARKED].any(axis=axis)) for axis in (1, 0))
        middle = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
        y, x = np.ogrid[: film.pixels.shape[0], : film.pixels.shape[1]]
        disc = np.hypot(y - middle[0], x - middle[1]) * film.pixel_mm <= 3.0
        return replace(exam, film=replace(film, pixels=np.where(disc, 4095, film.pixels)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_folder, "draw_exam", marked)
        patch.setattr(phantom_folder, "site_of", lambda *asked: replace(site_of(*asked), look=WORN))
        write_hospital(source, "spine", "alder", 11, n_patients=N)
    return source


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy of the hospital without masks, whose boxes a test may change."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("films", "clinical.csv"):
        (source / name).symlink_to(written / name)
    (source / "boxes.csv").write_bytes((written / "boxes.csv").read_bytes())
    return source


def boxes_of(source: Path) -> list[dict[str, str]]:
    """Rows of the table of boxes."""
    with (source / "boxes.csv").open() as stream:
        return list(csv.DictReader(stream, delimiter=PROFILE.separator))


def write_boxes(source: Path, rows: list[dict[str, str]]) -> None:
    """Write it again."""
    with (source / "boxes.csv").open("w") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=PROFILE.separator)
        writer.writeheader()
        writer.writerows(rows)


def ingest(source: Path, home: Path, schema: CohortSchema | None = None) -> IntakeReport:
    """Take in at the hospital whose films these are."""
    return take_in(source, home, schema or schema_of(), profile=PROFILE)


def films_of(cohort: Cohort) -> list[StoredFilm]:
    """Every image of the cohort, in order."""
    return [film for exam in cohort.exams for film in exam.films]


def is_marked(image: np.ndarray) -> bool:
    """Whether a disc lies in the middle: white there, and darker all around it."""
    pixels, edge = image.astype(np.float32), len(image)
    y, x = np.ogrid[:edge, :edge]
    distance = np.hypot(y - (edge - 1) / 2, x - (edge - 1) / 2) / edge
    ring = pixels[(distance > 0.11) & (distance < 0.15)]
    return bool(pixels[distance < 0.02].min() > 0.97 and np.median(ring) < 0.9)


def test_what_was_marked_on_a_vertebra_lies_in_the_middle_of_its_crop_and_of_no_other(folder, tmp_path):
    report = ingest(folder, tmp_path)
    cohort = report.cohort
    check_sums(report)
    framed = count_framing(cohort)
    assert min(framed[name] for name in ("turned", "flipped", "bordered", "inverted")) > 0
    by_unit = {unit: [] for unit in UNITS}
    for film in films_of(cohort):
        by_unit[film.unit].append(is_marked(cohort.images[film.image]))
    assert len(by_unit[MARKED]) == report.n_films_used
    assert all(by_unit[MARKED])
    assert not any(mark for unit in UNITS if unit != MARKED for mark in by_unit[unit])
    # and the box of the neighbour does not show it
    rows = boxes_of(folder)
    for row in rows:
        row["unit"] = {"L2": "L3", "L3": "L2"}.get(row["unit"], row["unit"])
    write_boxes(folder, rows)
    exchanged = ingest(folder, tmp_path / "exchanged").cohort
    assert {film.unit for film in films_of(exchanged) if is_marked(exchanged.images[film.image])} == {
        "L3"
    }


def test_a_crop_is_a_film_of_its_exam_and_patient_with_a_key_of_its_own(folder, tmp_path):
    report = ingest(folder, tmp_path)
    assert len(report.cohort.images) == len(boxes_of(folder)) > N
    assert report.n_films_used == N
    assert len(set(report.cohort.film_keys())) == len(report.cohort.images)
    for exam in report.cohort.exams:
        assert len({film.unit for film in exam.films}) == len(exam.films)
        assert [film.film for film in exam.films] == sorted(film.film for film in exam.films)


def test_the_whole_film_is_kept_beside_its_crops_where_the_schema_says_so(folder, tmp_path):
    cohort = ingest(folder, tmp_path, schema_of(keeps_film=True)).cohort
    assert [sum(not film.unit for film in exam.films) for exam in cohort.exams] == [1] * N
    plain = read_schema(cohort_file("spine_fracture"))
    whole = take_in(folder, tmp_path / "whole", plain, profile=PROFILE).cohort
    kept = {film.film: cohort.images[film.image] for film in films_of(cohort) if not film.unit}
    for film in films_of(whole):
        assert np.array_equal(kept[film.film], whole.images[film.image])


def test_every_box_that_is_no_crop_has_a_code(folder, tmp_path):
    rows = boxes_of(folder)
    of_film = [row for row in rows if row["film"] == rows[0]["film"]]
    others = [row for row in rows if row["film"] != rows[0]["film"]]
    names = list(dict.fromkeys(row["film"] for row in others))
    of_film[0]["x1"] = "90000"
    of_film[1]["x0"], of_film[1]["x1"] = of_film[1]["x1"], of_film[1]["x0"]
    of_film[2]["unit"] = "S1"
    of_film[3]["y0"] = "?"
    nobody = others[0] | {"film": "nobody"}
    twice = next(row for row in others if row["film"] == names[1])
    alone = [row for row in others if row["film"] != names[2]]
    write_boxes(folder, [*of_film, *alone, nobody, twice])
    report = ingest(folder, tmp_path)
    check_sums(report)
    codes = {code: n for (kind, code), n in counts_of(report).items() if kind == "region"}
    assert codes == {
        "intake.box-outside-film": 1,
        "intake.empty-box": 1,
        "intake.unknown-crop-unit": 1,
        "intake.not-a-number": 1,
        "intake.region-of-unknown-film": 1,
        "intake.duplicate-unit": 2,
    }
    assert counts_of(report)["film", "intake.missing-crop"] == 1
    assert report.losses.by_code == {"intake.missing-crop": 1}
    assert report.n_films_used == N - 1


def test_units_may_have_the_hospitals_own_words(folder, tmp_path):
    rows = boxes_of(folder)
    for row in rows:
        row["unit"] = row["unit"].replace("L", "lwk ").replace("T", "bwk ")
    write_boxes(folder, rows)
    words = {unit.replace("L", "LWK ").replace("T", "BWK "): unit for unit in UNITS}
    films = PROFILE.films.model_copy(update={"units": words})
    own = PROFILE.model_copy(update={"films": films})
    said = take_in(folder, tmp_path / "said", schema_of(), profile=own).cohort
    with pytest.raises(IntakeError, match=r"intake\.missing-crop"):
        ingest(folder, tmp_path / "plain")
    assert {film.unit for film in films_of(said)} == set(UNITS)


def labels_of(source: Path, boxes: list[dict[str, str]], film: str) -> np.ndarray:
    """The boxes of a film as one picture of levels: the first unit 1, the second 2, and so on."""
    shape = dcmread(source / "films" / f"{film}.dcm", stop_before_pixels=True)
    labels = np.zeros((shape.Rows, shape.Columns), dtype=np.uint8)
    for row in boxes:
        if row["film"] == film:
            left, top, right, bottom = (int(row[name]) for name in ("x0", "y0", "x1", "y1"))
            labels[top:bottom, left:right] = UNITS.index(row["unit"]) + 1
    return labels


@pytest.mark.parametrize("kind", ["levels", "files", "seg"])
def test_boxes_drawn_as_masks_give_the_same_crops(kind, folder, tmp_path):
    # neighbouring boxes overlap: of every film one vertebra in two
    rows = [row for row in boxes_of(folder) if row["unit"] in ("T11", "L1", "L3")]
    write_boxes(folder, rows)
    by_box = ingest(folder, tmp_path / "boxes").cohort
    for film in {row["film"] for row in rows}:
        labels = labels_of(folder, rows, film)
        masks = {unit: labels == UNITS.index(unit) + 1 for unit in ("T11", "L1", "L3")}
        masks = {unit: mask for unit, mask in masks.items() if mask.any()}
        if kind == "levels":
            write_png(folder / "masks" / f"{film}.png", labels)
        elif kind == "files":
            for unit, mask in masks.items():
                write_png(folder / "masks" / film / f"{unit}.png", mask)
        else:
            head = dcmread(folder / "films" / f"{film}.dcm", stop_before_pixels=True)
            drawn = {(head.SOPInstanceUID, unit): mask for unit, mask in masks.items()}
            write_seg(folder / "masks" / f"{film}.dcm", drawn)
    by_mask = ingest(folder, tmp_path / "masks", schema_of(source="masks")).cohort
    assert np.array_equal(by_mask.images, by_box.images)
    assert [film.unit for film in films_of(by_mask)] == [film.unit for film in films_of(by_box)]
    assert has_mask(by_mask).all()
    # the mask is the box: a margin of 15 % on every side is outside of it
    share = load_masks(by_mask).mean(axis=(1, 2))
    assert np.all((share > 0.3) & (share <= 1 / 1.3**2 + 0.02))


def test_the_bone_of_a_film_is_cut_with_its_crops(folder, written, tmp_path):
    for path in (written / "masks").iterdir():
        write_png(folder / "masks" / path.name, np.asarray(Image.open(path)))
    cohort = ingest(folder, tmp_path, schema_of(keeps_film=True)).cohort
    assert has_mask(cohort).all()
    # radiomics of a whole film do not depend on who drew masks
    is_whole = np.array([not film.unit for film in films_of(cohort)])
    assert [mask is None for mask in crop_masks(cohort)] == is_whole.tolist()
    middle = load_masks(cohort)[~is_whole][:, 48:80, 48:80]
    assert middle.mean() > 0.95  # of a vertebra's body


def test_crops_need_what_they_are_cut_by(folder, tmp_path):
    (folder / "boxes.csv").unlink()
    for source in ("boxes", "masks"):
        with pytest.raises(IntakeError, match=source) as refusal:
            ingest(folder, tmp_path, schema_of(source=source))
        assert refusal.value.code == "intake.no-regions"


def test_an_intake_that_goes_on_takes_crops_from_its_journal(folder, tmp_path):
    first = ingest(folder, tmp_path)
    again = ingest(folder, tmp_path)
    assert not again.is_new
    assert again.cohort.fingerprint == first.cohort.fingerprint
    wider = schema_of(margin=0.5).model_copy(update={"version": 2})
    margin = ingest(folder, tmp_path, wider).cohort
    assert margin.version == 2
    assert not np.array_equal(margin.images, first.cohort.images)
