"""One PNG file of a tree: its grey pixels as they are stored, and every way in which it is no film."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from practice_png_tree import write_png

from client.intake import png_film
from client.intake.png_film import png_patient_id, read_png_film
from client.intake.tree_place import study_day
from shared.errors import IntakeError

GREY = np.arange(12 * 10).reshape(12, 10)
PLACE = "XR_WRIST/patient3/study1_positive/image2.png"


@pytest.fixture
def path(tmp_path):
    return tmp_path / PLACE


def code_of(path):
    with pytest.raises(IntakeError) as caught:
        read_png_film(path)
    assert "patient3" not in str(caught.value)
    return caught.value.code


def test_a_film_is_what_its_file_and_its_folders_say(path):
    film = read_png_film(write_png(path, GREY))
    assert (film.picture.pixels == GREY).all()
    assert film.picture.pixels.dtype == np.float32
    assert (film.pixel_mm, film.laterality, film.acquired) == (None, None, study_day("study1"))
    assert (film.patient_id, film.words) == ("patient3", {"BodyPartExamined": "XR_WRIST"})
    assert film.sop_instance_uid == "XR_WRIST/patient3/study1/image2.png"
    assert "patient3" not in repr(film)


def test_sixteen_bits_are_kept_and_one_bit_is_read(path):
    assert (read_png_film(write_png(path, GREY * 500, np.uint16)).picture.pixels == GREY * 500).all()
    Image.fromarray(GREY % 2 == 1).save(path)
    assert (read_png_film(path).picture.pixels == (GREY % 2) * 255).all()


def test_colours_that_are_grey_are_read_as_grey(path):
    plain = np.repeat(GREY[..., None], 3, axis=2)
    assert (read_png_film(write_png(path, plain)).picture.pixels == GREY).all()
    opaque = np.concatenate([plain, np.full((12, 10, 1), 255)], axis=2)
    assert (read_png_film(write_png(path, opaque)).picture.pixels == GREY).all()
    Image.fromarray(GREY.astype(np.uint8)).quantize(200).save(path)
    assert (read_png_film(path).picture.pixels == GREY).all()


def test_a_coloured_or_transparent_picture_is_no_film(path):
    coloured = np.repeat(GREY[..., None], 3, axis=2)
    coloured[3, 4, 2] += 1
    assert code_of(write_png(path, coloured)) == "intake.not-greyscale"
    clear = np.repeat(GREY[..., None], 4, axis=2)
    assert code_of(write_png(path, clear)) == "intake.not-greyscale"


def test_a_damaged_file_is_unreadable_wherever_it_ends(path):
    whole = write_png(path, np.random.default_rng(1).integers(0, 255, (64, 64))).read_bytes()
    for n_bytes in (0, 7, 20, len(whole) // 2):
        path.write_bytes(whole[:n_bytes])
        assert code_of(path) == "intake.unreadable-dicom"
    Image.fromarray(GREY.astype(np.uint8)).save(path, format="JPEG")
    assert code_of(path) == "intake.unreadable-dicom"


def test_a_file_that_claims_more_pixels_than_any_film_is_not_inflated(path, monkeypatch):
    monkeypatch.setattr(png_film, "MAX_PIXELS", 100)
    assert code_of(write_png(path, GREY)) == "intake.too-large"
    monkeypatch.undo()
    for edge in (8_193, 11_000, 30_000):
        chunk = b"IHDR" + struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0)
        png = (
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        )
        path.write_bytes(png + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
        assert code_of(path) == "intake.too-large"
    monkeypatch.setattr(png_film, "MAX_FILE_BYTES", 10)
    assert code_of(write_png(path, GREY)) == "intake.too-large"


def test_a_file_of_several_pictures_is_no_film(path):
    frames = [Image.fromarray((GREY + n).astype(np.uint8)) for n in range(2)]
    write_png(path, GREY)
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert code_of(path) == "intake.several-frames"


def test_a_file_is_in_the_same_tree_from_whatever_folder_it_is_named(path, monkeypatch):
    write_png(path, GREY)
    monkeypatch.chdir(path.parent)
    assert read_png_film(Path(path.name)).sop_instance_uid == read_png_film(path).sop_instance_uid


def test_a_file_that_lies_too_high_names_no_patient():
    assert code_of(Path("/image.png")) == "intake.missing-patient"
    assert png_patient_id(Path("/image.png")) == ""


def test_a_film_that_cannot_be_read_still_names_its_patient(path):
    assert png_patient_id(path) == "patient3"
