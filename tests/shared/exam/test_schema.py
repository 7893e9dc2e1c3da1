"""The cohort schema: what a YAML may say, and every mistake by its place."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from shared.errors import SettingsError
from shared.exam.schema import (
    BmdLabel,
    ClassLabel,
    CohortSchema,
    NumberLabel,
    SplitRule,
    ViewRule,
    read_schema,
    schema_differences,
)

HIP = Path(__file__).parents[3] / "configs" / "cohort" / "hip_bmd.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    return yaml.safe_load(HIP.read_text())


def mistakes(tmp_path: Path, content: dict[str, Any]) -> str:
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError) as caught:
        read_schema(path)
    assert caught.value.code == "settings.invalid-schema"
    return caught.value.fact


def test_the_shipped_schema_is_read_as_it_is_written(content: dict[str, Any]) -> None:
    schema = read_schema(HIP)
    assert [field.name for field in schema.fields][:3] == ["age", "sex", "height"]
    assert isinstance(schema.label, BmdLabel)
    assert schema.label.class_t_scores == (-1.0, -2.5)
    assert schema.max_days_between_film_and_row == content["max_days_between_film_and_row"]


@pytest.mark.parametrize(
    ("name", "change", "fact"),
    [
        ("age", {"low": None}, "fields.age.low"),
        ("sex", {"low": 0}, "fields.sex.low"),
        ("age", {"low": 90, "high": 90}, "fields.age: low 90 must be below high 90"),
        ("sex", {"categories": ["female"]}, "fields.sex: categories must be at least 2"),
        ("age", {"reference_sd": 0}, "fields.age.reference_sd"),
        ("age", {"colour": "red"}, "fields.age.colour: is not a setting"),
        ("height", {"name": "age"}, "column age stands for 2 things"),
    ],
)
def test_a_field_that_is_not_whole_is_refused(
    tmp_path: Path, content: dict[str, Any], name: str, change: dict[str, Any], fact: str
) -> None:
    field = next(field for field in content["fields"] if field["name"] == name)
    field |= change
    assert fact in mistakes(tmp_path, content)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"label": {"reference_vendor": "acme"}}, "reference_vendor must be one of"),
        ({"label": {"reference_sd": 0}}, "label.reference_sd"),
        ({"split": {"train": 0.8, "tune": 0.1, "internal": 0.2}}, "train + tune + internal must be 1"),
        ({"split": {"train": 1.2, "tune": 0.0, "internal": -0.2}}, "split.train"),
        ({"max_lost_fraction": 1.1}, "max_lost_fraction"),
        ({"image_pixels": 16}, "image_pixels"),
        ({"name": "Hip BMD"}, "name"),
        ({"fields": []}, "fields"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], fact: str
) -> None:
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    assert fact in mistakes(tmp_path, content)


def test_every_mistake_is_named_at_once(tmp_path: Path, content: dict[str, Any]) -> None:
    wrong = deepcopy(content) | {"version": 0, "image_pixels": 4096}
    assert len(mistakes(tmp_path, wrong).splitlines()) == 3
    staged = wrong | {"age_field": "sex", "views": [{**content["views"][0], "pixels": 1}] * 2}
    staged["fields"] = [*content["fields"], {"name": "bad", "kind": "numbr"}, 7]
    found = mistakes(tmp_path, staged)
    for said in ("version", "image_pixels", "pixels: is not a setting", "views must differ in name"):
        assert said in found, "what the whole contradicts is told beside what its parts do wrong"
    assert found.count("age_field must be one of the numbers") == 1
    assert "not sex" in found


def test_the_kind_of_a_label_decides_what_else_it_says(content: dict[str, Any]) -> None:
    classes = {"kind": "class", "column": "y", "classes": ["no", "yes"]}
    number = {"kind": "number", "column": "y", "unit": "mm", "low": 0, "high": 1}
    for label, kind in ((classes, ClassLabel), (number, NumberLabel)):
        assert isinstance(CohortSchema.model_validate(content | {"label": label}).label, kind)


def test_classes_have_an_order_only_where_the_schema_says_so(content: dict[str, Any]) -> None:
    classes = {"kind": "class", "column": "y", "classes": ["a", "b", "c"]}
    for label, is_ordered in (
        (content["label"], True),
        (classes, False),
        (classes | {"is_ordered": True}, True),
    ):
        found = CohortSchema.model_validate(content | {"label": label}).label
        assert not isinstance(found, NumberLabel)
        assert found.is_ordered is is_ordered


def test_a_split_may_be_rounded_but_must_add_up() -> None:
    assert SplitRule(train=0.7, tune=0.1, internal=0.2).tune == 0.1
    with pytest.raises(ValueError, match="must be 1"):
        SplitRule(train=0.7, tune=0.1, internal=0.1)


def test_a_file_that_is_no_yaml_or_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text("a: [")
    for place, said in ((path, "line 1, column 5"), (tmp_path / "missing.yaml", "No such file")):
        with pytest.raises(SettingsError, match=said) as caught:
            read_schema(place)
        assert caught.value.code == "settings.invalid-schema"


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"age_field": "agee"}, ["age_field must be one of the numbers"]),
        ({"age_field": "sex"}, ["age_field must be one of the numbers"]),
        ({"age_field": ""}, ["minimum_age_years needs age_field"]),
        ({"date_column": "patient_id"}, ["column patient_id stands for 2 things"]),
        ({"label": {"column": "age"}}, ["column age stands for 2 things"]),
        ({"label": {"reference_mean": 8.58}}, ["reference_mean 8.58 must lie between low 0.2"]),
        ({"label": {"low": 2.0}}, ["low 2 must be below high 1.6"]),
        ({"label": {"classes": ["well", "ill"]}}, ["class_t_scores must be 1"]),
        ({"label": {"class_t_scores": [-2.5, -1.0]}}, ["class_t_scores must fall"]),
        ({"label": {"conversions": {"hologic": [0, 0]}}}, ["every slope b"]),
        (
            {"label": {"classes": ["well", "Well", "ill"], "reference_vendor": "acme"}},
            ["classes must differ", "reference_vendor must be one of"],
        ),
    ],
)
def test_two_places_that_speak_of_one_thing_must_agree(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], facts: list[str]
) -> None:
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    lines = mistakes(tmp_path, content).splitlines()[1:]
    assert len(lines) == len(facts)
    for fact in facts:
        assert any(fact in line for line in lines), (fact, lines)


@pytest.mark.parametrize(
    ("name", "change", "fact"),
    [
        ("age", {"reference_mean": 680}, "reference_mean 680 must lie between low 18 and high 90"),
        ("height", {"unit": "mm"}, "units must hold unit mm as"),
        ("height", {"units": {"cm": [2, 0]}}, "units must hold unit cm as"),
        ("height", {"units": {"cm": [1, 0], "ft": [0, 0]}}, "no factor in units may be 0"),
        ("sex", {"synonyms": {"f": "femal"}}, "synonyms.f must lead to one of"),
        ("sex", {"synonyms": {"Male": "female"}}, "synonyms.Male is one of categories itself"),
        ("sex", {"synonyms": {"f": "female", "F": "male"}}, "and, spelt in another case, to"),
        ("sex", {"categories": ["male", "MALE", "female"]}, "categories must differ"),
    ],
)
def test_a_field_must_agree_with_itself(
    tmp_path: Path, content: dict[str, Any], name: str, change: dict[str, Any], fact: str
) -> None:
    field = next(field for field in content["fields"] if field["name"] == name)
    field |= change
    assert fact in mistakes(tmp_path, content)


def test_a_spelling_of_the_same_word_contradicts_nothing(content: dict[str, Any]) -> None:
    field = next(field for field in content["fields"] if field["name"] == "sex")
    field["synonyms"] = {"MALE": "male", "f": "female"}
    CohortSchema.model_validate(content)


def test_a_class_that_a_spelling_leads_to_must_be_there(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    label = {"kind": "class", "column": "y", "classes": ["no", "yes"], "synonyms": {"0": "none"}}
    assert "synonyms.0 must lead to one of ['no', 'yes'], not none" in mistakes(
        tmp_path, content | {"label": label}
    )
    number = {"kind": "number", "column": "y", "unit": "mm", "low": 1, "high": 1}
    assert "low 1 must be below high 1" in mistakes(tmp_path, content | {"label": number})
    wide: dict[str, object] = number | {"high": 5, "reference_mean": 6, "reference_sd": 2.5}
    assert "reference_mean 6 must lie between" in mistakes(tmp_path, content | {"label": wide})
    wide["reference_mean"] = 2
    assert "reference_sd 2.5 must be at most 2, half the range" in mistakes(
        tmp_path, content | {"label": wide}
    )


def test_a_number_label_without_a_reference_is_written_as_before_there_was_one() -> None:
    number: dict[str, object] = {"kind": "number", "column": "y", "unit": "mm", "low": 0.0, "high": 5.0}
    assert NumberLabel.model_validate(number).model_dump(mode="json") == number
    given = number | {"reference_mean": 2.0, "reference_sd": 1.0}
    assert NumberLabel.model_validate(given).model_dump(mode="json") == given


def test_where_two_schemas_differ_is_named_by_part(content: dict[str, Any]) -> None:
    one = CohortSchema.model_validate(content)
    assert schema_differences(one, one) == []
    changed = deepcopy(content)
    changed["fields"][0]["low"] = 20
    changed["fields"].pop()
    changed["label"]["high"] = 1.5
    changed["minimum_age_years"] = 55
    other = CohortSchema.model_validate(changed)
    for found in (schema_differences(one, other), schema_differences(other, one)):
        assert set(found) == {"fields.age", "fields.prior_fracture", "label.high", "minimum_age_years"}


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"patient_column": None}, "views need patient_column and date_column"),
        ({"date_column": None}, "views need patient_column and date_column"),
        ({"split": {"column": "part", "stratified": True}}, "column and stratified exclude each other"),
        ({"split": {"column": "age"}}, "column age stands for 2 things"),
    ],
)
def test_films_need_numbers_and_dates_and_a_split_goes_by_one_thing(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], fact: str
) -> None:
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    assert fact in mistakes(tmp_path, content)


@pytest.mark.parametrize("given", [{"anatomy": "hip"}, {"window_mm": 128}])
def test_a_landmark_and_the_window_around_it_go_together(given):
    view = {"name": "hip_ap", "body_parts": ["HIP"], "positions": ["AP"]}
    with pytest.raises(ValidationError, match="go together"):
        ViewRule.model_validate(view | given)
    assert ViewRule.model_validate(view | {"anatomy": "hip", "window_mm": 128}).window_mm == 128


TREE = Path(__file__).parents[3] / "configs" / "cohort" / "mura_wrist.yaml"


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"date_column": "exam_date"}, "films: png_tree needs date_column: null"),
        ({"patient_column": None}, "needs a patient_column"),
        ({"views": []}, "needs views, at least one"),
        ({"max_days_between_film_and_row": 1}, "needs max_days_between_film_and_row: 0"),
        ({"split": {"column": "part"}}, "needs no split.column"),
        ({"label": {"kind": "number", "column": "y", "unit": "", "low": 0, "high": 1}}, "kind class"),
        ({"fields": [{"name": "sex", "kind": "category", "categories": ["f", "m"]}]}, "fields: []"),
        ({"films": "jpeg"}, "films"),
        ({"films": "dicom"}, "views need patient_column and date_column"),
    ],
)
def test_a_schema_of_png_files_asks_nothing_that_a_tree_cannot_say(
    tmp_path: Path, change: dict[str, Any], fact: str
) -> None:
    tree = yaml.safe_load(TREE.read_text())
    assert read_schema(TREE).films == "png_tree"
    assert fact in mistakes(tmp_path, tree | change)


def test_a_schema_of_dicom_films_is_written_as_before_there_were_others(
    content: dict[str, Any],
) -> None:
    assert "films" not in CohortSchema.model_validate(content).model_dump(mode="json")
    tree = read_schema(TREE)
    assert CohortSchema.model_validate(tree.model_dump(mode="json")) == tree
