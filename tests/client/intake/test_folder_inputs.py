"""A folder is films and a table, or a tree that is both."""

from pathlib import Path

from practice_intake import HIP
from practice_png_tree import MURA_WRIST, write_png

from client.intake.folder_inputs import films_of, folder_inputs
from client.site.profile import SiteProfile


def test_a_table_lies_beside_dicom_films_and_a_tree_is_its_own(tmp_path: Path) -> None:
    path = write_png(tmp_path / "films/XR_WRIST/p1/study1_positive/a.png", [[1, 2]])
    (tmp_path / "clinical.csv").write_text("patient_id,finding\np9,negative\n")
    usual = folder_inputs(tmp_path, HIP, SiteProfile())
    assert [row.cells["patient_id"] for row in usual.table().rows] == ["p9"]
    tree = folder_inputs(tmp_path, MURA_WRIST, SiteProfile())
    assert [row.cells["patient"] for row in tree.table().rows] == ["p1"]
    assert [film.path for film in tree.films()] == [path]


def test_only_a_tree_tells_by_its_names_what_is_no_film(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    assert [film.code for film in films_of(tmp_path, HIP)] == [""]
    assert [film.code for film in films_of(tmp_path, MURA_WRIST)] == ["intake.not-dicom"]
