"""Masks in a folder: each file is named, of a film or of its unit, and read to its levels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from practice_masks import write_png, write_seg

from client.intake.masks import list_masks, read_mask
from client.intake.regions import Region
from client.intake.seg import UNREADABLE


def test_a_png_is_of_the_film_that_it_is_called_or_of_a_unit_of_its_folders(tmp_path):
    root = tmp_path / "masks"
    write_png(root / "P1.png", np.eye(4, dtype=bool))
    write_png(root / "P2" / "L1.png", np.eye(4, dtype=bool))
    found = {(region.film, region.unit) for region in list_masks(root)}
    assert found == {("P1", ""), ("P2/L1", ""), ("P2", "L1")}


def test_a_seg_and_what_is_no_mask_lie_beside_them(tmp_path):
    root = tmp_path / "masks"
    write_seg(root / "seg.dcm", {("1.2.3", "L1"): np.eye(4, dtype=bool)})
    (root / "notes.txt").write_text("see mail")
    (root / ".hidden").write_text("a viewer's")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [(region.place, region.film, region.code) for region in list_masks(root)]
    assert found == [
        ("masks/gone.png", "", UNREADABLE),
        ("masks/notes.txt", "", UNREADABLE),
        ("masks/seg.dcm frame 1", "1.2.3", ""),
    ]


def test_levels_of_a_palette_are_its_indices(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(labels, mode="P")
    image.putpalette([value for value in range(255, -1, -1) for _ in range(3)])
    image.save(tmp_path / "labels.png")
    region = Region(place="labels.png", path=tmp_path / "labels.png")
    assert np.array_equal(read_mask(region), labels)


def test_a_torn_png_and_a_coloured_one_are_refused(tmp_path):
    write_png(tmp_path / "torn.png", np.ones((60, 60), dtype=bool))
    (tmp_path / "torn.png").write_bytes((tmp_path / "torn.png").read_bytes()[:40])
    colours = np.zeros((4, 4, 3), dtype=np.uint8)
    colours[..., 0] = 200
    Image.fromarray(colours).save(tmp_path / "red.png")
    for name in ("torn.png", "red.png"):
        with pytest.raises(ValueError, match="intake"):
            read_mask(Region(place=name, path=tmp_path / name))
