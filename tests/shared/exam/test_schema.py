"""The cohort schema: what a YAML may say, and every mistake by its place."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.errors import SettingsError
from shared.exam.schema import BmdLabel, ClassLabel, CohortSchema, NumberLabel, SplitRule, read_schema

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
        ("age", {"low": None}, "fields.0.low"),
        ("sex", {"low": 0}, "fields.1.low"),
        ("age", {"low": 90, "high": 90}, "field age: a number needs low < high"),
        ("sex", {"categories": ["female"]}, "field sex: a category needs at least 2 categories"),
        ("age", {"reference_sd": 0}, "fields.0.reference_sd"),
        ("age", {"colour": "red"}, "fields.0.colour: is not a setting"),
        ("height", {"name": "age"}, "fields: names must differ"),
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


def test_a_file_that_is_no_yaml_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text("a: [")
    for place in (path, tmp_path / "missing.yaml"):
        with pytest.raises(SettingsError) as caught:
            read_schema(place)
        assert caught.value.code == "settings.unreadable-schema"
