"""Strict validation: unknown keys are mistakes, every mistake has a line."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.strict import FROZEN, list_mistakes


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


def mistakes(values: object, kind: type[BaseModel] = Ranged, **options: bool) -> list[str]:
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
