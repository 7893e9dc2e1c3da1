"""A film's masks become one mask of its bone, and each that cannot has a code."""

from __future__ import annotations

import numpy as np
from practice_masks import write_png

from client.intake.film_regions import (
    DUPLICATE_UNIT,
    EMPTY_MASK,
    MASK_SIZE,
    mask_in,
    read_regions,
)
from client.intake.regions import Region
from client.intake.seg import UNREADABLE
from shared.exam.pixels import Picture
from shared.exam.schema import CropRule

STORED = np.zeros((20, 30), dtype=bool)


def marked(rows: slice, columns: slice) -> np.ndarray:
    """A mask of the stored film."""
    mask = STORED.copy()
    mask[rows, columns] = True
    return mask


def test_masks_of_a_film_are_joined_as_it_hangs(tmp_path):
    one, other = marked(slice(2, 6), slice(3, 9)), marked(slice(10, 14), slice(20, 25))
    regions = [
        Region(place=name, path=write_png(tmp_path / name, mask))
        for name, mask in (("one.png", one), ("other.png", other))
    ]
    picture = Picture(pixels=STORED.T[:, ::-1].astype(np.float32), turns=(np.transpose, np.fliplr))
    found = read_regions(regions, picture)
    assert np.array_equal(found.bone, (one | other).T[:, ::-1])
    assert found.codes == {"one.png": "", "other.png": ""}


def test_what_cannot_be_used_has_a_code(tmp_path):
    masks = {"size.png": STORED.T, "black.png": STORED, "good.png": marked(slice(1, 3), slice(1, 3))}
    regions = [Region(place=name, path=write_png(tmp_path / name, m)) for name, m in masks.items()]
    regions.append(Region(place="gone.png", path=tmp_path / "gone.png"))
    found = read_regions(regions, Picture(pixels=STORED.astype(np.float32)))
    assert found.codes == {
        "size.png": MASK_SIZE,
        "black.png": EMPTY_MASK,
        "good.png": "",
        "gone.png": UNREADABLE,
    }
    assert np.array_equal(found.bone, masks["good.png"])


def test_a_mask_beside_the_window_is_none():
    mask = marked(slice(0, 3), slice(0, 3))
    assert mask_in(mask, (10, 10, 20, 20), 5, mirror=False) is None
    assert mask_in(None, (0, 0, 20, 20), 5, mirror=False) is None
    assert mask_in(mask, (0, 0, 6, 6), 6, mirror=False).sum() == 9


def test_a_unit_that_is_marked_twice_is_not_cropped(tmp_path):
    rule = CropRule(source="boxes", units=("L1", "L2"), margin=0.5)
    boxes = {"a": ("L1", (2, 2, 8, 6)), "b": ("l1", (3, 3, 9, 7)), "c": ("LWK 2", (2, 8, 8, 12))}
    regions = [Region(place=place, unit=unit, box=box) for place, (unit, box) in boxes.items()]
    picture = Picture(pixels=STORED.astype(np.float32))
    found = read_regions(regions, picture, rule, {"lwk 2": "L2"})
    assert found.codes == {"a": DUPLICATE_UNIT, "b": DUPLICATE_UNIT, "c": ""}
    assert [(crop.unit, crop.window) for crop in found.crops] == [("L2", (6.0, -1.0, 14.0, 11.0))]
