"""Why an input cannot be read: in words, with what to do, and never by a Python error's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_intake import HIP

from client.intake.clinical import read_table
from client.intake.sources.tables import file_table
from client.intake.unreadable import films_problem, table_problem
from client.site.profile import SiteProfile
from shared.errors import IntakeError

TEXT = "patient_id,age\nMüller,70\n"


@pytest.mark.parametrize(
    ("data", "encoding", "said", "hint"),
    [
        (
            TEXT.encode("cp1252"),
            "utf-8-sig",
            "is not written in utf-8-sig",
            "site profile: perhaps cp1252 or latin-1",
        ),
        (TEXT.encode("utf-16"), "utf-8-sig", "is not written in utf-8-sig", "site profile: utf-16"),
        (TEXT.encode("utf-8-sig"), "ascii", "is not written in ascii", "site profile: utf-8-sig"),
        (b"", "utf-8-sig", "is empty", "header line"),
        (b"\n\n", "utf-8-sig", "is empty", "header line"),
        (b"a," + b"b" * 140_000, "utf-8-sig", "is no CSV file", "one row per line"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_it_is(
    data: bytes, encoding: str, said: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(IntakeError) as caught:
        read_table(path, SiteProfile(encoding=encoding))
    assert caught.value.code == "intake.unreadable-table"
    assert caught.value.fact == f"the clinical table rows.csv {said}"
    assert hint in caught.value.hint


def test_a_parquet_file_that_is_none_is_told_so_without_the_librarys_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_text(TEXT)
    with pytest.raises(IntakeError) as caught:
        file_table(path, HIP, SiteProfile())
    assert caught.value.fact == "the clinical table rows.parquet is damaged, or no parquet file"


def test_what_is_no_table_or_no_film_folder_is_told_before_it_is_opened(tmp_path: Path) -> None:
    gone = tmp_path / "gone.csv"
    assert table_problem(gone) == f"there is no file {gone}"
    assert films_problem(gone) == f"there is no folder and no DICOMDIR {gone}"
    assert "is a folder; name the table in it" in table_problem(tmp_path)
    (tmp_path / "bundle.NDJSON").touch()
    assert table_problem(tmp_path) == table_problem(tmp_path / "bundle.NDJSON") == ""
    assert films_problem(tmp_path) == ""
    with pytest.raises(IntakeError, match="there is no file") as caught:
        file_table(gone, HIP, SiteProfile())
    assert caught.value.code == "intake.no-input"
