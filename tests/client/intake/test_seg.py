"""A DICOM Segmentation says which film each of its frames was drawn on, and by which name."""

from __future__ import annotations

import numpy as np
import pytest
from practice_masks import write_seg
from pydicom import dcmread

from client.intake.seg import NO_FILM, UNREADABLE, list_seg, read_frame


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """Two masks [h,w] whose pixels do not fill whole bytes."""
    found = np.zeros((2, 13, 11), dtype=bool)
    found[0, 2:7, 3:5], found[1, 8:, 1:9] = True, True
    return {"L1": found[0], "L2": found[1]}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_each_frame_is_read_as_it_was_drawn(tmp_path, masks, kind):
    drawn = {("1.2.3", unit): mask for unit, mask in masks.items()}
    path = write_seg(tmp_path / "seg.dcm", drawn, kind)
    regions = list_seg(path, "masks/seg.dcm")
    assert [(region.film, region.unit, region.code) for region in regions] == [
        ("1.2.3", "L1", ""),
        ("1.2.3", "L2", ""),
    ]
    for region, mask in zip(regions, masks.values(), strict=True):
        assert np.array_equal(read_frame(path, region.frame), mask)


def test_one_object_may_hold_frames_of_several_films(tmp_path, masks):
    path = write_seg(tmp_path / "seg.dcm", {("1.2", "L1"): masks["L1"], ("1.3", "L1"): masks["L2"]})
    assert [region.film for region in list_seg(path, "seg")] == ["1.2", "1.3"]


def test_a_frame_without_derivation_is_of_the_one_film_of_its_series(tmp_path, masks):
    path = write_seg(tmp_path / "seg.dcm", {("1.2", "L1"): masks["L1"]})
    seg = dcmread(path)
    del seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    seg.save_as(path)
    assert [region.film for region in list_seg(path, "seg")] == ["1.2"]


def test_a_seg_that_names_no_film_has_a_code(tmp_path, masks):
    path = write_seg(tmp_path / "seg.dcm", {("1.2", "L1"): masks["L1"]})
    seg = dcmread(path)
    del seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    del seg.ReferencedSeriesSequence
    seg.save_as(path)
    assert [region.code for region in list_seg(path, "seg")] == [NO_FILM]


def test_a_film_among_the_masks_and_a_damaged_file_have_a_code(tmp_path, write_film):
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(b"not a DICOM object")
    for path in (torn, write_film()):
        assert [region.code for region in list_seg(path, "seg")] == [UNREADABLE]


def test_pixels_that_end_early_are_refused_without_a_value_of_the_file(tmp_path, masks):
    path = write_seg(tmp_path / "seg.dcm", {("1.2", "L1"): masks["L1"]})
    seg = dcmread(path)
    seg.PixelData = seg.PixelData[:4]
    seg.save_as(path)
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_frame(path, 0)
