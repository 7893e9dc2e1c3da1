"""The clinical table: units, words, ranges, missing values, and a code for every loss."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml
from practice_follow_up import FOLLOWED

from client.cohort.quarantine import CODES, Quarantined
from client.cohort.split import SplitCase
from client.intake.clinical import (
    ClinicalTable,
    RawRow,
    interpret_rows,
    read_table,
    split_cases,
)
from client.intake.tree_place import UNDATED
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"
ROW = {
    "patient_id": "P1",
    "exam_date": "2020-06-10",
    "age": "70",
    "sex": "F",
    "height": "165",
    "weight": "70",
    "bmi": "25.7",
    "alcohol": "5",
    "activity": "3",
    "smoking": "never",
    "prior_fracture": "no",
    "bmd_neck": "0.7",
}
COLUMNS = list(ROW)
PROFILE = SiteProfile(dxa_vendor="hologic", dxa_skeletal_site="femoral_neck")


@pytest.fixture
def schema() -> CohortSchema:
    return CohortSchema.model_validate(yaml.safe_load(HIP.read_text()))


@pytest.fixture
def interpret(schema, tmp_path):
    """Interprets rows given as changes to ROW; the header is that of the first row."""

    def run(*changes: dict[str, str], profile: SiteProfile = PROFILE) -> ClinicalTable:
        rows = [{**ROW, **change} for change in changes]
        header = list(rows[0])
        lines = [profile.separator.join(map(str, header))]
        lines += [profile.separator.join(row[name] for name in header) for row in rows]
        path = tmp_path / "clinical.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found, raw = read_table(path, profile)
        return interpret_rows(found, raw, schema=schema, profile=profile, today=date(2024, 1, 1))

    return run


def with_profile(**changes: object) -> SiteProfile:
    return PROFILE.model_copy(update=changes)


def test_plain_row_comes_out_in_canonical_words(interpret):
    (row,) = interpret({}).rows
    assert row.values == {
        "age": 70.0, "sex": "female", "height": 165.0, "weight": 70.0, "bmi": 25.7,
        "alcohol": 5.0, "activity": 3.0, "smoking": "never", "prior_fracture": "no",
    }  # fmt: skip
    assert row.day == date(2020, 6, 10)
    assert row.label is not None
    assert row.label.t_score == pytest.approx((0.7 - 0.858) / 0.12)


@pytest.mark.parametrize(
    ("cells", "profile", "field", "expected"),
    [
        ({"weight": "154", "weight_unit": "lb"}, PROFILE, "weight", 69.85322498),
        ({"height": "1.65", "height_unit": "m"}, PROFILE, "height", 165.0),
        ({"height": "65"}, with_profile(units={"height": "in"}), "height", 165.1),
        ({"height": "165", "height_unit": ""}, with_profile(units={"height": "cm"}), "height", 165),
        ({"bmi": "25,7"}, with_profile(decimal=",", separator=";"), "bmi", 25.7),
        ({"age": "97"}, PROFILE, "age", 90.0),
        ({"sex": "W"}, PROFILE, "sex", "female"),
        ({"smoking": "EX"}, PROFILE, "smoking", "former"),
    ],
)
def test_value_is_converted(interpret, cells, profile, field, expected):
    table = interpret(cells, profile=profile)
    assert not table.quarantined
    value = table.rows[0].values[field]
    assert value == (expected if isinstance(expected, str) else pytest.approx(expected))


@pytest.mark.parametrize("token", ["", "NA", "n/a", " ", "NaN", "?", "Unknown", "-9"])
def test_missing_is_missing_and_no_fault(interpret, token):
    table = interpret({"alcohol": token}, profile=with_profile(missing_tokens=("-9",)))
    assert table.rows[0].values["alcohol"] is None
    assert not table.quarantined


@pytest.mark.parametrize(
    ("cells", "field", "code"),
    [
        ({"height": "1.65"}, "height", "intake.out-of-range"),
        ({"weight": "70", "weight_unit": "stone"}, "weight", "intake.unknown-unit"),
        ({"bmi": "25,7"}, "bmi", "intake.malformed-row"),
        ({"bmi": "tall"}, "bmi", "intake.not-a-number"),
        ({"bmi": "inf"}, "bmi", "intake.not-a-number"),
        ({"bmi": "2_5"}, "bmi", "intake.not-a-number"),
        ({"smoking": "sometimes"}, "smoking", "intake.unknown-category"),
    ],
)
def test_unusable_optional_value_becomes_missing_and_is_counted(interpret, cells, field, code):
    table = interpret(cells)
    if code == "intake.malformed-row":  # an unquoted decimal comma splits the cell
        assert table.quarantined == (Quarantined("row", code, "row-1"),)
        return
    assert table.rows[0].values[field] is None
    assert table.quarantined == (Quarantined("value", code, "row-1", field),)


@pytest.mark.parametrize(
    ("cells", "code", "column"),
    [
        ({"patient_id": ""}, "intake.missing-patient", ""),
        ({"exam_date": "10.06.2020"}, "intake.missing-date", ""),
        ({"exam_date": "2024-01-02"}, "intake.future-date", ""),
        ({"age": ""}, "intake.missing-required-field", "age"),
        ({"age": "700"}, "intake.out-of-range", "age"),
        ({"age": "49.9"}, "intake.under-age", ""),
        ({"sex": "x"}, "intake.unknown-category", "sex"),
        ({"bmd_neck": "700"}, "intake.out-of-range", "bmd_neck"),
        ({"bmd_neck": "abc"}, "intake.not-a-number", "bmd_neck"),
    ],
)
def test_unusable_row_is_quarantined_with_its_column_and_the_rest_goes_on(
    interpret, cells, code, column
):
    table = interpret(cells, {"patient_id": "P2"})
    assert [row.patient_id for row in table.rows] == ["P2"]
    assert table.quarantined == (Quarantined("row", code, "row-1", column),)
    assert code in CODES
    assert table.n_rows == 2


def test_row_without_label_is_kept_and_counted(interpret):
    table = interpret({"bmd_neck": "NA"})
    assert table.rows[0].label is None
    assert table.quarantined == (Quarantined("value", "intake.missing-label", "row-1", "bmd_neck"),)


def test_site_without_labels_needs_no_label_column_and_no_vendor(interpret):
    profile = SiteProfile(has_labels=False)
    table = interpret({}, profile=profile)
    assert table.rows[0].label is None
    assert not table.quarantined


def test_equal_rows_leave_the_first_and_different_ones_none(interpret):
    table = interpret(
        {}, {}, {"patient_id": "P2"}, {"patient_id": "P2", "weight": "71"}, {"patient_id": "P3"}
    )
    assert [row.number for row in table.rows] == [1, 5]
    assert [(entry.item, entry.code) for entry in table.quarantined] == [
        ("row-2", "intake.duplicate-exam"),
        ("row-3", "intake.conflicting-rows"),
        ("row-4", "intake.conflicting-rows"),
    ]
    assert table.rejected == {"P2": "intake.conflicting-rows"}


def test_same_patient_on_another_date_is_another_exam(interpret):
    assert len(interpret({}, {"exam_date": "2021-06-10"}).rows) == 2


def test_columns_are_mapped_by_the_profile(interpret, schema, tmp_path):
    path = tmp_path / "mapped.csv"
    path.write_text(path_text := ",".join(COLUMNS).replace("weight", "Gewicht") + "\n")
    path.write_text(path_text + ",".join(ROW.values()) + "\n")
    profile = with_profile(columns={"weight": "Gewicht"})
    header, raw = read_table(path, profile)
    table = interpret_rows(header, raw, schema=schema, profile=profile, today=date(2024, 1, 1))
    assert table.rows[0].values["weight"] == 70


def test_missing_column_is_refused_with_the_names(schema):
    header = [name for name in COLUMNS if name != "alcohol"]
    with pytest.raises(IntakeError) as refusal:
        interpret_rows(header, [], schema=schema, profile=PROFILE, today=date(2024, 1, 1))
    assert refusal.value.code == "intake.missing-column"
    assert "the table lacks alcohol; expected patient_id" in refusal.value.fact
    assert "bmd_neck" in refusal.value.fact


def test_optional_column_may_be_declared_as_not_collected(schema):
    header = [name for name in COLUMNS if name != "alcohol"]
    profile = with_profile(not_collected=("alcohol",))
    table = interpret_rows(header, [], schema=schema, profile=profile, today=date(2024, 1, 1))
    assert table.n_rows == 0


def test_required_column_may_not(schema):
    with pytest.raises(IntakeError, match="the schema requires them"):
        interpret_rows(
            COLUMNS, [], schema=schema, profile=with_profile(not_collected=("age",)),
            today=date(2024, 1, 1),
        )  # fmt: skip


def test_table_without_header_shows_no_value(schema, tmp_path):
    path = tmp_path / "clinical.csv"
    path.write_text(",".join(ROW.values()).replace("P1", "CANARY") + "\n")
    header, raw = read_table(path, PROFILE)
    with pytest.raises(IntakeError) as refusal:
        interpret_rows(header, raw, schema=schema, profile=PROFILE, today=date(2024, 1, 1))
    assert "CANARY" not in str(refusal.value)


def test_second_dxa_vendor_in_the_table_is_refused(interpret):
    assert interpret({"bmd_neck_vendor": "Hologic"}, {"bmd_neck_vendor": ""}).n_rows == 2
    with pytest.raises(IntakeError) as refusal:
        interpret({"bmd_neck_vendor": "hologic"}, {"bmd_neck_vendor": "lunar", "patient_id": "P2"})
    assert refusal.value.code == "intake.mixed-vendors"


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00\xd8", b'a,"b\x00'])
def test_unreadable_table_is_refused(tmp_path, schema, data):
    path = tmp_path / "clinical.csv"
    path.write_bytes(data)
    with pytest.raises(IntakeError) as refusal:
        interpret_rows(
            *read_table(path, PROFILE), schema=schema, profile=PROFILE, today=date(2024, 1, 1)
        )
    assert refusal.value.code in {"intake.unreadable-table", "intake.missing-column"}


def test_absent_table_is_refused(tmp_path):
    with pytest.raises(IntakeError, match=r"the clinical table none\.csv is not there"):
        read_table(tmp_path / "none.csv", PROFILE)


def test_values_of_people_stay_out_of_repr(interpret):
    table = interpret({"patient_id": "CANARY"}, {"patient_id": "CANARY", "weight": "71"})
    assert "CANARY" not in repr(table)


@pytest.mark.parametrize(
    "cells",
    [
        {"age": "50"},
        {"age": "120"},
        {"height": "120"},
        {"height": "215"},
        {"bmd_neck": "0.2"},
        {"bmd_neck": "1.6"},
        {"exam_date": "2024-01-01"},
    ],
)
def test_what_lies_on_a_limit_is_used(interpret, cells):
    table = interpret(cells)
    assert len(table.rows) == 1
    assert not table.quarantined
    assert None not in table.rows[0].values.values()


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"age": "120.1"}, "intake.out-of-range"),
        ({"bmd_neck": "0.199"}, "intake.out-of-range"),
        ({"bmd_neck": "1.601"}, "intake.out-of-range"),
        ({"exam_date": "2024-01-02"}, "intake.future-date"),
    ],
)
def test_what_lies_beyond_it_is_not(interpret, cells, code):
    table = interpret(cells)
    assert table.rows == ()
    assert [entry.code for entry in table.quarantined] == [code]


def read_as(schema: CohortSchema, *rows: dict[str, str]) -> ClinicalTable:
    raw = [RawRow(number, {**ROW, **row}) for number, row in enumerate(rows, start=1)]
    header = list(raw[0].cells or {})
    return interpret_rows(header, raw, schema=schema, profile=PROFILE, today=date(2024, 1, 1))


def tabular(schema: CohortSchema, **changes: object) -> CohortSchema:
    content = schema.model_dump(mode="json") | {"views": []} | changes
    return CohortSchema.model_validate(content)


def test_without_patient_numbers_every_row_is_another_patient(schema):
    plain = tabular(schema, patient_column=None)
    table = read_as(plain, {"age": "70"}, {"age": "71"}, {"age": "70"})
    assert len(table.rows) == 2
    assert [entry.code for entry in table.quarantined] == ["intake.duplicate-exam"]
    again = read_as(plain, {"age": "65"}, {"age": "71"}, {"age": "70"})
    assert {row.patient_id for row in table.rows} < {row.patient_id for row in again.rows}


def test_without_dates_a_patient_has_one_row(schema):
    undated = tabular(schema, date_column=None)
    rows = [{"exam_date": "whenever", "patient_id": name, "age": age} for name, age in ROWS]
    table = read_as(undated, *rows)
    assert [row.patient_id for row in table.rows] == ["P1", "P3"]
    assert {row.day for row in table.rows} == {UNDATED}
    assert [entry.code for entry in table.quarantined] == ["intake.conflicting-rows"] * 2


ROWS = (("P1", "70"), ("P2", "71"), ("P2", "72"), ("P3", "73"))


def test_a_column_may_say_who_trains(schema):
    split = {"train": 1.0, "tune": 0.0, "internal": 0.0, "column": "part"}
    given = tabular(schema, split=split)
    words = (("P1", "Train"), ("P2", "test"), ("P3", "val"), ("P4", "?"), ("P5", "train"))
    rows = [{"patient_id": name, "part": word} for name, word in words]
    rows.append({"patient_id": "P5", "part": "internal", "exam_date": "2021-01-01"})
    table = read_as(given, *rows)
    assert [row.split for row in table.rows] == ["train", "internal", "tune"]
    assert [(entry.code, entry.item) for entry in table.quarantined] == [
        ("intake.unknown-split", "row-4"),
        ("intake.conflicting-split", "row-5"),
        ("intake.conflicting-split", "row-6"),
    ]
    assert table.rejected["P5"] == "intake.conflicting-split"
    with pytest.raises(IntakeError, match="part"):
        read_as(given, {"patient_id": "P1"})


def test_a_patients_split_goes_by_the_earliest_labelled_row(schema):
    rows = read_as(
        schema,
        {"bmd_neck": "", "exam_date": "2019-01-01"},
        {"bmd_neck": "0.4", "exam_date": "2020-01-01"},
        {"bmd_neck": "0.9", "exam_date": "2021-01-01"},
        {"patient_id": "P2", "bmd_neck": ""},
    ).rows
    assert split_cases(rows, lambda row: row.patient_id) == {
        "P1": SplitCase(None, "osteoporosis"),
        "P2": SplitCase(None, ""),
    }


def test_a_time_to_event_is_read_from_a_time_and_a_word(schema):
    followed = tabular(schema, label=FOLLOWED.model_dump(mode="json"))
    table = read_as(
        followed,
        {"patient_id": "1", "years": "1.5", "status": "Fracture"},
        {"patient_id": "2", "years": "9", "status": "0"},
        {"patient_id": "3", "years": "2", "status": ""},
        {"patient_id": "4", "years": "", "status": "1"},
    )
    named = {row.patient_id: row.label and row.label.class_name for row in table.rows}
    assert named == {"1": "fracture by 2", "2": "free for 5", "3": None, "4": None}
    assert [entry.code for entry in table.quarantined] == ["intake.missing-label"] * 2


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"years": "1", "status": "moved"}, "intake.unknown-category"),
        ({"years": "-1", "status": "1"}, "intake.out-of-range"),
        ({"years": "soon", "status": "1"}, "intake.not-a-number"),
    ],
)
def test_a_time_or_word_that_cannot_be_read_puts_the_row_aside(schema, cells, code):
    followed = tabular(schema, label=FOLLOWED.model_dump(mode="json"))
    table = read_as(followed, cells)
    assert table.rows == ()
    assert [entry.code for entry in table.quarantined] == [code]


def test_a_table_without_the_word_of_a_time_to_event_is_refused(schema):
    followed = tabular(schema, label=FOLLOWED.model_dump(mode="json"))
    with pytest.raises(IntakeError, match="lacks status"):
        read_as(followed, {"years": "1"})
