"""Strict validation: unknown keys are mistakes, every mistake has a line."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.strict import FROZEN, list_mistakes, refuse_contradictions, require_printable


class Ranged(BaseModel):
    model_config = FROZEN

    low: float
    high: float = Field(default=1.0, le=10)
    name: str = ""

    @model_validator(mode="after")
    def _rises(self) -> Ranged:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Outer(BaseModel):
    model_config = FROZEN

    inner: Ranged


def mistakes(values: object, kind: type[BaseModel] = Ranged, **options: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    assert "canary" not in str(caught.value), "pydantic repeats no value of its own"
    return list_mistakes(caught.value, whole="table", **options)


def test_every_mistake_has_a_line_with_its_place() -> None:
    lines = mistakes({"inner": {"low": "canary", "high": 11, "more": 1}}, Outer)
    assert [line.split(":")[0] for line in lines] == ["  inner.low", "  inner.high", "  inner.more"]
    assert lines[2] == "  inner.more: is not a setting"


class Round(BaseModel):
    model_config = FROZEN

    kind: Literal["round"]
    radius: float = Field(gt=0)


class Square(BaseModel):
    model_config = FROZEN

    kind: Literal["square"]
    side: float

    @model_validator(mode="after")
    def _is_not_seven(self) -> Square:
        if self.side == 7:
            raise ValueError("side must not be 7")
        return self


class Shapes(BaseModel):
    model_config = FROZEN

    shapes: tuple[Annotated[Round | Square, Field(discriminator="kind")], ...]


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ({"kind": "round", "radius": 0}, "shapes.1.radius: Input should be greater than 0"),
        ({"kind": "square"}, "shapes.1.side: Field required"),
        ({"kind": "round", "radius": 1, "side": 2}, "shapes.1.side: is not a setting"),
        ({"kind": "square", "side": 7}, "shapes.1: side must not be 7"),
        ({"kind": "oval"}, "shapes.1.kind: must be one of 'round', 'square'"),
    ],
)
def test_a_place_is_named_as_it_was_written_and_not_by_its_variant(
    shape: dict[str, object], line: str
) -> None:
    content = {"shapes": [{"kind": "square", "side": 1}, shape]}
    with pytest.raises(ValidationError) as caught:
        Shapes.model_validate(content)
    [found] = list_mistakes(caught.value, whole="shapes", content=content)
    assert found.strip().startswith(line)


def test_a_mistake_of_the_whole_is_named_after_it() -> None:
    assert mistakes({"low": 2.0}) == ["  table: low must be below high"]


def test_values_are_repeated_only_where_a_coordinator_typed_them() -> None:
    assert "canary" not in mistakes({"low": "canary"})[0]
    assert mistakes({"low": "canary"}, shows_values=True)[0].endswith(", not 'canary'")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value: float) -> None:
    assert len(mistakes({"low": value})) == 1


def test_a_validated_object_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Ranged(low=0.0).low = 2.0


def test_a_variant_that_there_is_not_is_told_the_ones_there_are() -> None:
    content = {"shapes": [{"kind": "canary"}]}
    with pytest.raises(ValidationError) as caught:
        Shapes.model_validate(content)
    plain = "  shapes.0.kind: must be one of 'round', 'square'"
    assert list_mistakes(caught.value, whole="shapes", content=content) == [plain]
    shown = list_mistakes(caught.value, whole="shapes", content=content, shows_values=True)
    assert shown == [f"{plain}, not 'canary'"]


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        ({"low": 1, "hihg": 2}, "hihg: is not a setting; did you mean high?"),
        ({"low": 1, "zzz": 2}, "zzz: is not a setting"),
        ({"low": "0,5"}, "; write a point, not a comma"),
        (
            {"low": 1, "name": True},
            "; put it in quotes: YAML reads yes, no, on and off as true or false",
        ),
        ({"low": 1, "name": 12}, "; put it in quotes"),
    ],
)
def test_what_was_meant_is_guessed_from_what_may_be_said(values: object, ending: str) -> None:
    assert mistakes(values, model=Ranged)[0].endswith(ending)


def test_a_misspelt_name_deep_inside_is_answered_by_its_own_neighbours() -> None:
    wrong = {"inner": {"low": 1, "nmae": "x"}}
    [line] = mistakes(wrong, Outer, model=Outer, content=wrong)
    assert line == "  inner.nmae: is not a setting; did you mean name?"


def test_a_word_that_is_none_of_the_allowed_is_answered_by_the_nearest() -> None:
    content = {"shapes": [{"kind": "squere", "side": 1}]}
    [line] = mistakes(content, Shapes, content=content)
    assert line.endswith("must be one of 'round', 'square'; did you mean square?")


def test_what_has_a_name_in_a_list_is_called_by_it() -> None:
    content = {"parts": [{"name": "box", "low": 0}, {"name": "lid"}]}
    [line] = mistakes(content, Parts, content=content)
    assert line.startswith("  parts.lid.low: Field required")


class Parts(BaseModel):
    model_config = FROZEN

    parts: tuple[Ranged, ...]


def test_every_contradiction_of_a_part_has_a_line() -> None:
    class Pair(BaseModel):
        model_config = FROZEN

        @model_validator(mode="after")
        def _agrees(self) -> Pair:
            refuse_contradictions(["one", "two"])
            return self

    assert mistakes({}, Pair) == ["  table: one", "  table: two"]
    refuse_contradictions([])


def test_what_else_is_known_of_a_place_stands_after_the_mistake() -> None:
    [line] = mistakes({"inner": {"low": 2}}, Outer, where=lambda place: f" (at {place})")
    assert line.endswith("low must be below high (at ['inner'])")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"task": {"endpoint": "hip\x1b[2J"}}, "task.endpoint"),
        ({"cohort": [{"name": "a"}, {"name": "b\u202e"}]}, "cohort.1.name"),
        ({"grades": ("mild\u200bly",)}, "grades.0"),
        ({"words": "two\nlines"}, "words"),
        ({"columns": {"age\x07": 1}}, "a name"),
    ],
)
def test_a_text_that_a_terminal_would_not_print_is_refused_by_its_place(
    content: dict[str, object], place: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(place)} must be of printable") as caught:
        require_printable(content)
    assert str(caught.value).isprintable()


def test_words_of_any_script_and_whatever_is_no_text_pass() -> None:
    content = {"endpoint": "Osteoporose ≤ −2,5 骨", "n": 3, "x": None, "raw": b"\x00", "of": [0.5]}
    assert require_printable(content) is content
