"""Hospitals as they are given: tables, folders, one table split; and mistakes in them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import yaml
from simulated_tables import NUMBER, SIZES, rows_of, write_cohort, write_one_table, write_rows

from client.site.policy import read_policy, write_policy_template
from server.federation.compose import cohort_file
from server.simulation.request import Request
from server.simulation.sources import (
    LEAST_EXTERNAL,
    LEAST_TRAINING,
    Hospital,
    read_hospitals,
    repeated_patients,
)
from server.synthetic.phantoms.folder import write_hospital, write_profile
from shared.exam.schema import CohortSchema, read_schema

TODAY = date(2026, 1, 1)


@pytest.fixture
def schema(tmp_path: Path) -> CohortSchema:
    return read_schema(write_cohort(tmp_path / "c.yaml", NUMBER))


def read(schema: CohortSchema, **asked: object) -> tuple[dict[str, Hospital], list[str]]:
    hospitals, problems = read_hospitals(Request(**asked), schema, today=TODAY)  # type: ignore[arg-type]
    return {hospital.name: hospital for hospital in hospitals}, problems


def test_a_table_is_csv_or_parquet_or_lies_in_a_folder(tmp_path: Path, schema: CohortSchema) -> None:
    rows = rows_of("ash")
    plain = write_rows(tmp_path / "ash.csv", rows)
    (tmp_path / "folder").mkdir()
    write_rows(tmp_path / "folder" / "clinical.csv", rows)
    texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(rows[0], pyarrow.string()))
    pyarrow.parquet.write_table(
        pyarrow.csv.read_csv(plain, convert_options=texts), tmp_path / "ash.parquet"
    )
    places = {"a1": plain, "a2": tmp_path / "folder", "a3": tmp_path / "ash.parquet"}
    found, problems = read(schema, training=tuple(places.items()))
    assert problems == []
    assert {hospital.n_patients for hospital in found.values()} == {SIZES["ash"]}
    assert len({str(hospital.content()["table"]) for hospital in found.values()}) == 1


def test_one_table_becomes_hospitals_without_the_column(tmp_path: Path, schema: CohortSchema) -> None:
    path = write_one_table(tmp_path / "all.csv")
    found, problems = read(
        schema, split_table=path, split_by="clinic", split_external=("Hop Hall", "elm-hall")
    )
    assert problems == []
    assert {name: hospital.n_patients for name, hospital in found.items()} == {
        f"{site}-hall": n for site, n in SIZES.items()
    }
    assert {name for name, hospital in found.items() if hospital.role == "external"} == {
        "hop-hall",
        "elm-hall",
    }
    for hospital in found.values():
        assert "clinic" not in hospital.table.header
        assert all("clinic" not in (row.cells or {}) for row in hospital.table.rows)


def test_who_trains_follows_the_seed_and_nothing_else(tmp_path: Path, schema: CohortSchema) -> None:
    path = write_rows(tmp_path / "ash.csv", rows_of("ash"))
    again = [
        read(schema, training=(("ash", path),), seed=seed)[0]["ash"].n_training
        for seed in (1, 1, 2, 3, 4)
    ]
    assert again[0] == again[1]
    assert len(set(again)) > 1
    assert all(60 < n < 95 for n in again)


def test_too_few_patients_of_a_value_are_told_with_their_number(
    tmp_path: Path, schema: CohortSchema
) -> None:
    rows = [{"clinic": "big", **row} for row in rows_of("ash")]
    rows += [{"clinic": "2nd", **row} for row in rows_of("elm")[:20]]
    rows += [{"clinic": "far", **row} for row in rows_of("elm")[20:25]]
    rows += [{"clinic": "", **row} for row in rows_of("elm")[25:28]]
    path = write_rows(tmp_path / "all.csv", rows)
    _, problems = read(schema, split_table=path, split_by="clinic", split_external=("far", "gone"))
    text = "\n".join(problems)
    assert len(problems) == 4
    assert "3 rows have no value in column clinic" in text
    assert "site-2nd: " in text
    assert f"of 20, are fewer than the {LEAST_TRAINING}" in text
    assert "far: 5 patients with a label are fewer than the 10" in text
    assert "--external: must be among the values of clinic, big, far, site-2nd, not gone" in text


def test_a_column_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, schema: CohortSchema
) -> None:
    path = write_one_table(tmp_path / "all.csv")
    _, problems = read(schema, split_table=path, split_by="ward")
    assert problems == [
        "  --split-by: all.csv has no column ward; it has clinic, patient_id, exam_date, age, marker, "
        "sex, capacity, stage"
    ]


def test_a_misspelt_column_or_value_is_answered_by_the_nearest(
    tmp_path: Path, schema: CohortSchema
) -> None:
    path = write_one_table(tmp_path / "all.csv")
    _, [column] = read(schema, split_table=path, split_by="clinc")
    assert column.endswith("; did you mean clinic?")
    _, problems = read(schema, split_table=path, split_by="clinic", split_external=("Elm Hal",))
    assert any(line.endswith("not Elm Hal; did you mean elm-hall?") for line in problems)


def test_a_profile_that_is_not_valid_is_told_in_one_line(tmp_path: Path, schema: CohortSchema) -> None:
    path = write_rows(tmp_path / "ash.csv", rows_of("ash"))
    path.with_name("ash.profile.yaml").write_text("encoding: utf8x\n")
    _, [line] = read(schema, training=(("ash", path),))
    assert line.startswith("  ash: ash.profile.yaml is not valid: encoding: must name an encoding of")


def test_a_header_without_rows_is_told_once(tmp_path: Path, schema: CohortSchema) -> None:
    path = write_rows(tmp_path / "ash.csv", rows_of("ash"))
    path.write_text(path.read_text().splitlines()[0] + "\n")
    _, [line] = read(schema, training=(("ash", path),))
    assert line == "  ash: the table has a header and no row"


def test_values_that_make_one_name_are_told(tmp_path: Path, schema: CohortSchema) -> None:
    rows = [{"clinic": "A b", **row} for row in rows_of("ash")]
    rows += [{"clinic": "a-B", **row} for row in rows_of("elm")]
    path = write_rows(tmp_path / "all.csv", rows)
    _, problems = read(schema, split_table=path, split_by="clinic")
    assert problems == [
        "  a-b: 2 hospitals have this name (clinic A b, clinic a-B); each needs its own"
    ]


def test_values_in_any_script_are_hospitals_and_may_be_named_as_external(
    tmp_path: Path, schema: CohortSchema
) -> None:
    rows = [{"clinic": "北", **row} for row in rows_of("ash")]
    rows += [{"clinic": "Süd", **row} for row in rows_of("elm")]
    rows += [{"clinic": "南", **row} for row in rows_of("oak")]
    path = write_rows(tmp_path / "all.csv", rows)
    found, problems = read(schema, split_table=path, split_by="clinic", split_external=("南", "SUD"))
    assert problems == []
    assert {name: each.role for name, each in found.items()} == {
        "site-2": "training",
        "site-3": "external",
        "sud": "external",
    }


def test_a_mistake_of_several_hospitals_is_told_once(tmp_path: Path, schema: CohortSchema) -> None:
    short = write_rows(tmp_path / "short.csv", [{"patient_id": "1", "exam_date": "2021-01-01"}])
    _, problems = read(schema, training=(("ash", short), ("elm", short)))
    assert len(problems) == 1
    assert problems[0].startswith("  ash, elm: the table lacks age, ")


def test_other_names_and_units_are_said_by_a_profile_beside_the_table(
    tmp_path: Path, schema: CohortSchema
) -> None:
    renamed = [
        {("years" if key == "age" else key): cell for key, cell in row.items()}
        for row in rows_of("ash")
    ]
    path = write_rows(tmp_path / "ash.csv", renamed)
    _, problems = read(schema, training=(("ash", path),))
    assert "the table lacks age;" in problems[0]
    beside = tmp_path / "ash.profile.yaml"
    beside.write_text(yaml.safe_dump({"columns": {"age": "years"}}))
    found, problems = read(schema, training=(("ash", path),))
    assert (problems, found["ash"].n_patients) == ([], SIZES["ash"])
    beside.write_text("columns: 3\n")
    _, problems = read(schema, training=(("ash", path),))
    assert "ash.profile.yaml is not valid" in problems[0]


def test_a_cohort_with_films_wants_a_folder_of_each_hospital(tmp_path: Path) -> None:
    from server.federation.compose import cohort_file

    films = read_schema(cohort_file("hip_bmd"))
    path = write_rows(tmp_path / "ash.csv", rows_of("ash"))
    _, problems = read(films, training=(("ash", path),))
    assert "must be a folder with clinical.csv and films/" in problems[0]
    _, problems = read(films, split_table=path, split_by="sex")
    assert "a table alone cannot be split" in problems[0]


def test_a_cohort_of_crops_wants_boxes_of_each_hospital_and_notices_when_they_change(
    tmp_path: Path,
) -> None:
    spine = read_schema(cohort_file("spine_vertebrae"))
    write_hospital(tmp_path / "alder", "spine", "alder", 3, n_patients=1)
    write_profile(tmp_path / "alder" / "profile.yaml", "spine", "alder")
    found, _ = read(spine, training=(("alder", tmp_path / "alder"),))
    first = found["alder"].content()
    boxes = tmp_path / "alder" / "boxes.csv"
    boxes.write_text(boxes.read_text().replace("L1", "L9"))
    found, _ = read(spine, training=(("alder", tmp_path / "alder"),))
    second = found["alder"].content()
    assert {name for name in first if first[name] != second[name]} == {"boxes"}
    boxes.unlink()
    _, problems = read(spine, training=(("alder", tmp_path / "alder"),))
    assert "  alder: cohort spine_vertebrae crops films by boxes, and there are none" in problems


def test_without_a_training_hospital_nothing_can_be_simulated(
    tmp_path: Path, schema: CohortSchema
) -> None:
    path = write_rows(tmp_path / "ash.csv", rows_of("ash"))
    _, problems = read(schema, external=(("ash", path),))
    assert problems == ["  no hospital trains: at least one must, as SITE=FILE or by --split-by"]


def test_a_table_that_an_intake_would_refuse_is_told_beforehand(
    tmp_path: Path, schema: CohortSchema
) -> None:
    rows = rows_of("ash")
    spoilt = [row | {"capacity": "99"} for row in rows[:30]]
    path = write_rows(tmp_path / "ash.csv", [*spoilt, *rows[30:]])
    _, problems = read(schema, training=(("ash", path),))
    assert problems == [
        "  ash: 27.3% of patients are lost (intake.out-of-range 30), more than the 20% that the "
        "cohort's file allows"
    ]


@pytest.mark.parametrize("name", ["pooled", "internal"])
def test_a_hospital_is_not_called_like_a_result(
    name: str, tmp_path: Path, schema: CohortSchema
) -> None:
    path = write_rows(tmp_path / "ash.csv", rows_of("ash"))
    _, problems = read(schema, training=((name, path),))
    assert problems == [f"  {name}: a hospital cannot be called so, results are"]


def test_patient_numbers_of_several_hospitals_are_counted_once_each(
    tmp_path: Path, schema: CohortSchema
) -> None:
    rows = [{"clinic": "one", **row} for row in rows_of("ash")]
    rows += [{"clinic": "two", **row} for row in (*rows_of("elm"), *rows_of("ash")[:7])]
    path = write_rows(tmp_path / "all.csv", rows)
    found, problems = read(schema, split_table=path, split_by="clinic")
    assert problems == []
    assert repeated_patients(list(found.values()), schema) == 7


def test_patients_who_are_held_out_are_no_patients_to_train_on(
    tmp_path: Path, schema: CohortSchema
) -> None:
    path = write_rows(tmp_path / "ash.csv", rows_of("ash")[: LEAST_TRAINING + 5])
    found, problems = read(schema, training=(("ash", path),))
    ash = found["ash"]
    assert ash.n_training < LEAST_TRAINING < ash.n_patients
    assert problems == [
        f"  ash: {ash.n_training} patients with a label to train on, of {ash.n_patients}, are fewer "
        f"than the {LEAST_TRAINING} that a hospital's policy wants"
    ]


def test_who_came_on_the_day_of_the_lock_counts_and_who_came_later_does_not(
    tmp_path: Path, schema: CohortSchema
) -> None:
    rows = rows_of("ash")
    for place, row in enumerate(rows):
        row["exam_date"] = "2021-12-31" if place < 90 else "2022-01-01"
    path = write_rows(tmp_path / "ash.csv", rows)
    found, problems = read(schema, training=(("ash", path),), lock_date=date(2021, 12, 31))
    assert (problems, found["ash"].n_patients) == ([], 90)


def test_the_least_sizes_are_those_of_a_new_hospitals_policy(tmp_path: Path) -> None:
    write_policy_template(tmp_path / "policy.yaml")
    policy = read_policy(tmp_path / "policy.yaml")
    assert (policy.minimum_cohort_patients, policy.minimum_cell) == (LEAST_TRAINING, LEAST_EXTERNAL)
