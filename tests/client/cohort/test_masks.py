"""Bone of films lies beside their images: that of each film where it is given, and none elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from practice_intake import counts_of, take_in
from practice_masks import write_png, write_seg
from pydicom import dcmread
from scipy import ndimage

from client.cohort.folder import Cohort
from client.cohort.masks import has_mask, load_masks
from client.intake.ingest import IntakeReport
from client.site.linkage import Linkage, Pseudonyms
from client.site.profile import SiteProfile
from server.federation.compose import cohort_file
from server.synthetic.folder import write_hospital as write_hip_hospital
from server.synthetic.hospitals import BIRCH, Defects
from server.synthetic.phantoms.folder import phantom_profile, write_hospital
from server.synthetic.phantoms.settings import read_phantom
from shared.exam.schema import read_schema

SPINE = read_schema(cohort_file("spine_fracture")).model_copy(update={"max_lost_fraction": 1.0})
PROFILE = SiteProfile.model_validate(phantom_profile(read_phantom("spine"), "alder"))
N = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A hospital's spines, some of them turned, flipped, with borders, and their masks."""
    folder = tmp_path_factory.mktemp("spines")
    write_hospital(folder, "spine", "alder", 7, n_patients=N)
    return folder


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy of the hospital whose masks a test may change."""
    (tmp_path / "source").mkdir()
    for name in ("films", "clinical.csv"):
        (tmp_path / "source" / name).symlink_to(written / name)
    for path in (written / "masks").iterdir():
        write_png(tmp_path / "source" / "masks" / path.name, np.asarray(Image.open(path)))
    return tmp_path / "source"


def follows_bone(image: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the edge of a mask is one of the picture, brighter inside, and is none where moved."""
    contrasts = []
    for place in (mask, np.roll(mask, (9, 9), axis=(0, 1))):
        inner = place & ~ndimage.binary_erosion(place, iterations=2)
        outer = ndimage.binary_dilation(place, iterations=2) & ~place
        contrasts.append(float(image[inner].mean() - image[outer].mean()))
    return contrasts[0] > 0.02 and contrasts[0] > 2 * contrasts[1]


def ingest(source: Path, home: Path, **changes: object) -> IntakeReport:
    """Take in at the hospital whose films these are."""
    return take_in(source, home, SPINE, profile=PROFILE, **changes)


def regions_of(report: IntakeReport) -> dict[str, int]:
    """n by code of the regions that were not used."""
    return {code: n for (kind, code), n in counts_of(report).items() if kind == "region"}


def test_every_mask_lies_on_the_bone_of_its_image(folder, tmp_path):
    cohort = ingest(folder, tmp_path).cohort
    masks = load_masks(cohort)
    assert masks.shape == cohort.images.shape
    assert isinstance(masks, np.memmap)
    assert has_mask(cohort).all()
    images = cohort.images.astype(np.float32)
    assert all(follows_bone(*pair) for pair in zip(images, masks, strict=True))


def test_a_hips_mask_lies_on_its_bone_right_sides_mirrored_as_their_films_are(tmp_path):
    ward = replace(BIRCH, n_patients=8, defects=Defects())
    write_hip_hospital(tmp_path / "hips", ward, 5, has_masks=True)
    cohort = take_in(tmp_path / "hips", tmp_path).cohort
    sides = [film.laterality for exam in cohort.exams for film in exam.films]
    assert {"L", "R"} <= set(sides)
    assert has_mask(cohort).all()
    images = cohort.images.astype(np.float32)
    pairs = zip(images, load_masks(cohort), strict=True)
    assert sum(follows_bone(*pair) for pair in pairs) > 0.9 * len(images)
    # of a mirrored mask the most part does not
    pairs = zip(images, load_masks(cohort)[:, :, ::-1], strict=True)
    assert sum(follows_bone(*pair) for pair in pairs) < 0.5 * len(images)


def test_a_cohort_without_masks_has_the_fingerprint_that_it_had(folder, tmp_path):
    for path in (folder / "masks").iterdir():
        path.unlink()
    empty = ingest(folder, tmp_path / "empty").cohort
    (folder / "masks").rmdir()
    none = ingest(folder, tmp_path / "none").cohort
    assert empty.fingerprint == none.fingerprint
    assert "masks.npy" not in none.files
    assert load_masks(none) is None
    assert not has_mask(none).any()


def test_a_film_without_a_mask_has_none_and_the_others_keep_theirs(folder, tmp_path):
    whole = ingest(folder, tmp_path / "whole").cohort
    next((folder / "masks").iterdir()).unlink()
    cohort = ingest(folder, tmp_path / "less").cohort
    given = has_mask(cohort)
    assert given.sum() == N - 1
    assert np.array_equal(load_masks(cohort)[given], load_masks(whole)[given])
    assert cohort.fingerprint != whole.fingerprint


def test_a_seg_and_a_png_of_one_film_are_the_same_mask(folder, tmp_path):
    by_png = ingest(folder, tmp_path / "png").cohort
    for path in sorted((folder / "masks").iterdir()):
        film = dcmread(folder / "films" / f"{path.stem}.dcm", stop_before_pixels=True)
        mask = np.asarray(Image.open(path)) > 0
        write_seg(path.with_suffix(".dcm"), {(film.SOPInstanceUID, "spine"): mask})
        path.unlink()
    by_seg = ingest(folder, tmp_path / "seg").cohort
    assert by_seg.fingerprint == by_png.fingerprint


def test_every_mask_that_no_film_used_has_a_code(folder, tmp_path):
    masks = sorted((folder / "masks").iterdir())
    masks[0].rename(folder / "masks" / "nobody.png")
    write_png(masks[1], np.ones((40, 30), dtype=bool))
    write_png(masks[2], np.zeros(np.asarray(Image.open(masks[2])).shape, dtype=bool))
    masks[3].write_bytes(b"no PNG")
    report = ingest(folder, tmp_path)
    assert regions_of(report) == {
        "intake.region-of-unknown-film": 1,
        "intake.mask-size": 1,
        "intake.empty-mask": 1,
        "intake.unreadable-mask": 1,
    }
    assert has_mask(report.cohort).sum() == N - 4
    assert report.lost_fraction == 0


def test_a_second_intake_reads_no_mask_and_a_changed_mask_is_read(folder, tmp_path):
    first = ingest(folder, tmp_path)
    assert not ingest(folder, tmp_path).is_new
    path = next((folder / "masks").iterdir())
    mask = np.asarray(Image.open(path)) > 0
    mask[: mask.shape[0] // 2] = False
    write_png(path, mask)
    again = ingest(folder, tmp_path)
    assert again.is_new
    assert load_masks(again.cohort).sum() < load_masks(first.cohort).sum()
    assert np.array_equal(again.cohort.images, first.cohort.images)


def test_of_who_withdrew_no_place_of_a_mask_is_remembered(folder, tmp_path):
    pseudonyms = Pseudonyms(b"\x07" * 32)
    linkage = Linkage(tmp_path / "linkage" / "linkage.bin", pseudonyms)
    person = ingest(folder, tmp_path, linkage=linkage).cohort.patients()[0]
    linkage.withdraw(person, by="Ada Lovelace", now=datetime(2024, 1, 1, tzinfo=UTC))
    cohort = ingest(folder, tmp_path, linkage=linkage).cohort
    gone = [entry for entry in cohort.quarantined if entry.code == "intake.withdrawn"]
    assert sorted(entry.kind for entry in gone) == ["film", "region", "row"]
    assert [linkage.place_of(entry.item) for entry in gone] == [None] * 3
    assert has_mask(Cohort.open(cohort.folder)).sum() == N - 1
