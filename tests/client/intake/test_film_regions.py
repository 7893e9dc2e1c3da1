"""A film's masks become one mask of its bone, and each that cannot has a code."""

from __future__ import annotations

import numpy as np
from practice_masks import write_png

from client.intake.film_regions import EMPTY_MASK, MASK_SIZE, read_regions
from client.intake.regions import Region
from client.intake.seg import UNREADABLE
from shared.exam.pixels import Picture

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


def test_a_mask_beside_the_window_is_none_and_says_so(tmp_path):
    mask = marked(slice(0, 3), slice(0, 3))
    found = read_regions(
        [Region(place="a.png", path=write_png(tmp_path / "a.png", mask))],
        Picture(pixels=STORED.astype(np.float32)),
    )
    assert found.mask_in((10, 10, 20, 20), 5, mirror=False) is None
    assert found.codes == {"a.png": EMPTY_MASK}
