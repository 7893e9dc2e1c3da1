"""Boxes in a table: German notation, the hospital's own headers, a code for each row that is none."""

from __future__ import annotations

import pytest

from client.intake.boxes import EMPTY_BOX, list_boxes
from client.site.profile import SiteProfile
from shared.errors import IntakeError

GERMAN = SiteProfile(
    separator=";",
    decimal=",",
    encoding="cp1252",
    columns={"film": "Aufnahme", "unit": "Wirbelkörper", "x0": "links", "y0": "oben", "x1": "rechts"},
)


def test_a_table_as_german_excel_writes_it_is_read(tmp_path):
    path = tmp_path / "boxes.csv"
    text = "Aufnahme;Wirbelkörper;links;oben;rechts;y1\r\nP1.dcm;LWK1;10,5;20;30,25;41\r\n"
    path.write_bytes(text.encode("cp1252"))
    (box,) = list_boxes(path, GERMAN)
    assert (box.film, box.unit, box.box) == ("P1.dcm", "LWK1", (10.5, 20.0, 30.25, 41.0))
    assert (box.place, box.code) == ("boxes.csv row 1", "")


def test_a_row_that_is_no_box_has_a_code(tmp_path):
    path = tmp_path / "boxes.csv"
    edges = ["5,5,9", "5,5,x,9", "9,5,5,9", "5,9,9,5", "5,5,5,9", "1,2,3,4"]
    path.write_text("\n".join(["film,unit,x0,y0,x1,y1", *(f"a,L1,{each}" for each in edges)]))
    assert [box.code for box in list_boxes(path, SiteProfile())] == [
        "intake.malformed-row",
        "intake.not-a-number",
        *[EMPTY_BOX] * 3,
        "",
    ]


def test_a_table_without_a_column_is_refused_by_its_name(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("film;unit;x0;y0;x1;y1\na;L1;1;2;3;4\n")
    with pytest.raises(IntakeError, match="lacks film, unit, x0") as refusal:
        list_boxes(path, SiteProfile())
    assert refusal.value.code == "intake.missing-column"
