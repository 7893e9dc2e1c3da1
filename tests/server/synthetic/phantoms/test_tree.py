"""A tree of the wrist phantom: a study of each patient, under its label, in grey of 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from server.synthetic.phantoms.tree import write_tree

N = 4


def test_every_patient_has_one_study_under_its_label(tmp_path: Path) -> None:
    drawn = write_tree(tmp_path, "hazel", N, seed=2)
    found = {path.parts[-3]: path for path in tmp_path.rglob("*.png")}
    assert found.keys() == drawn.keys()
    assert len(drawn) == N
    for patient, path in found.items():
        word = {"normal": "negative", "abnormal": "positive"}[drawn[patient]]
        assert path.relative_to(tmp_path) == Path("XR_WRIST", patient, f"study1_{word}", "image1.png")
        with Image.open(path) as picture:
            assert picture.mode == "L"
            assert np.asarray(picture).std() > 10


def test_equal_seeds_draw_equal_pictures_and_others_other_patients(tmp_path: Path) -> None:
    def drawn(folder: str, seed: int) -> dict[str, bytes]:
        write_tree(tmp_path / folder, "hazel", 2, seed=seed)
        return {path.parts[-3]: path.read_bytes() for path in (tmp_path / folder).rglob("*.png")}

    assert drawn("a", 2) == drawn("b", 2)
    assert not drawn("a", 2).keys() & drawn("c", 3).keys()
