"""A hospital's own table: its scale, units, words and gaps, cell by cell."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from server.synthetic.clinical_table import (
    EMPTY_SPELLINGS,
    SPELLINGS,
    RowFaults,
    format_row,
    to_vendor_scale,
    write_table,
)
from server.synthetic.exams import SyntheticExam, draw_exams
from server.synthetic.hospitals import ASTER, BIRCH, SyntheticSite

PLAIN = replace(BIRCH, pounds_share=0.0, metres_share=0.0, missing=(), decimal=",", separator=";")


@pytest.fixture(scope="module")
def exam() -> SyntheticExam:
    [drawn] = draw_exams(PLAIN, 1, np.random.default_rng(2))
    return drawn


def row_of(site: SyntheticSite, exam: SyntheticExam, **faults: bool) -> dict[str, str]:
    return format_row(
        site,
        exam,
        patient_id="BI-1",
        day=date(2020, 3, 1),
        rng=np.random.default_rng(0),
        faults=RowFaults(**faults),
    )


def number(text: str) -> float:
    return float(text.replace(",", "."))


def test_a_row_has_the_recorded_values_in_the_sites_spelling(exam: SyntheticExam) -> None:
    row = row_of(PLAIN, exam)
    assert (row["patient_id"], row["exam_date"]) == ("BI-1", "2020-03-01")
    for field in ("age", "height", "weight", "bmi", "alcohol", "activity"):
        assert number(row[field]) == exam.clinical[field]
        assert "." not in row[field]
    assert (row["height_unit"], row["weight_unit"]) == ("cm", "kg")
    for field in ("sex", "smoking", "prior_fracture"):
        assert row[field] in SPELLINGS[field, exam.clinical[field]]


def test_bmd_is_printed_on_the_sites_own_scale(exam: SyntheticExam) -> None:
    assert PLAIN.dxa_vendor == "lunar"
    row = row_of(PLAIN, exam)
    # Lu et al. 2001: sBMD = 0.019 + 1.087·Hologic = −0.023 + 0.939·Lunar
    expected = (0.019 + 1.087 * exam.bmd_g_cm2 + 0.023) / 0.939
    assert number(row["bmd_neck"]) == pytest.approx(expected, abs=5e-4)
    own = row_of(replace(PLAIN, dxa_vendor="hologic"), exam)
    assert number(own["bmd_neck"]) == pytest.approx(exam.bmd_g_cm2, abs=5e-4)
    assert to_vendor_scale(0.558, "lunar") == pytest.approx(0.691, abs=6e-4)


def test_other_units_are_named_and_convert_back(exam: SyntheticExam) -> None:
    row = row_of(replace(PLAIN, pounds_share=1.0, metres_share=1.0), exam)
    assert (row["weight_unit"], row["height_unit"]) == ("lb", "m")
    assert number(row["weight"]) * 0.45359237 == pytest.approx(exam.clinical["weight"], abs=0.03)
    assert number(row["height"]) * 100 == pytest.approx(exam.clinical["height"], abs=0.06)


def test_a_gap_is_one_of_the_usual_words_and_keeps_its_unit(exam: SyntheticExam) -> None:
    gaps = replace(exam, clinical=dict.fromkeys(exam.clinical))
    row = row_of(replace(PLAIN, pounds_share=1.0, metres_share=1.0), gaps)
    for field in exam.clinical:
        assert row[field] in EMPTY_SPELLINGS
    assert (row["weight_unit"], row["height_unit"]) == ("kg", "cm")


def test_each_fault_spoils_its_own_cells_only(exam: SyntheticExam) -> None:
    whole = row_of(PLAIN, exam)

    def spoilt(**faults: bool) -> dict[str, str]:
        row = row_of(PLAIN, exam, **faults)
        return {name: row[name] for name in row if row[name] != whole[name]}

    assert list(spoilt(lacks_required=True).values()) == [""]
    assert set(spoilt(lacks_required=True)) <= {"sex", "age"}
    assert spoilt(lacks_label=True) == {"bmd_neck": ""}
    stones = spoilt(has_unknown_unit=True)
    assert stones["weight_unit"] == "st"
    assert number(stones["weight"]) * 6.35029318 == pytest.approx(exam.patient.weight_kg, abs=0.4)
    decimetres = spoilt(has_value_out_of_range=True)
    assert set(decimetres) == {"height"}
    assert number(decimetres["height"]) * 10 == pytest.approx(exam.patient.height_cm, abs=0.5)
    milligrams = spoilt(has_bmd_in_mg=True)
    assert number(milligrams["bmd_neck"]) == pytest.approx(1000 * number(whole["bmd_neck"]), abs=0.6)
    assert spoilt() == {}


@pytest.mark.parametrize("site", [ASTER, PLAIN])
def test_a_file_has_the_sites_separator_and_a_unit_column_only_where_units_vary(
    site: SyntheticSite, exam: SyntheticExam, tmp_path: Path
) -> None:
    path = tmp_path / "clinical.csv"
    for share in (0.0, 0.3):
        write_table(path, replace(site, metres_share=share), [row_of(site, exam)])
        lines = path.read_text().splitlines()
        [read] = csv.DictReader(lines, delimiter=site.separator)
        assert ("height_unit" in read) == (share > 0)
        assert read["patient_id"] == "BI-1"
        assert "weight_unit" in read
