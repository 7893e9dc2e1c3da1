"""The cohort schema: what a site's clinical table and films must look like, as data.

A schema is written in ``configs/cohort/*.yaml`` and travels by value in the plan, so that a new
disease needs a new file and no code. Everything in it is public: reference means and SDs come from
the literature, never from a cohort. Imports errors only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.errors import SettingsError
from shared.strict import FROZEN, list_mistakes


class NumberField(BaseModel):
    """A clinical variable that is a number, which becomes one token.

    ``units`` maps each unit accepted in a table to (factor, offset): canonical = factor·x + offset.
    Numbers outside [low, high] are not taken; they are standardised with the public
    ``reference_mean`` and ``reference_sd``.
    """

    model_config = FROZEN

    kind: Literal["number"]
    name: str
    unit: str = ""
    units: dict[str, tuple[float, float]] = {}
    low: float
    high: float
    reference_mean: float = 0.0
    reference_sd: float = Field(default=1.0, gt=0)
    may_be_missing: bool = True

    @model_validator(mode="after")
    def _has_a_range(self) -> NumberField:
        if self.low >= self.high:
            raise ValueError(f"field {self.name}: a number needs low < high")
        return self


class CategoryField(BaseModel):
    """A clinical variable that is one of some words, which becomes one token.

    ``synonyms`` maps spellings found in tables to a category.
    """

    model_config = FROZEN

    kind: Literal["category"]
    name: str
    categories: tuple[str, ...]
    synonyms: dict[str, str] = {}
    may_be_missing: bool = True

    @model_validator(mode="after")
    def _has_a_choice(self) -> CategoryField:
        if len(self.categories) < 2:
            raise ValueError(f"field {self.name}: a category needs at least 2 categories")
        return self


ClinicalField = Annotated[NumberField | CategoryField, Field(discriminator="kind")]


class ViewRule(BaseModel):
    """Which films belong to a view: anatomical site and projection (DICOM PS3.3 C.8.11.1, C.8.11.5)."""

    model_config = FROZEN

    name: str
    body_parts: tuple[str, ...]
    positions: tuple[str, ...]
    allows_empty_position: bool = True


class BmdLabel(BaseModel):
    """A bone mineral density measured by DXA, converted to one vendor's scale and to a T-score.

    ``conversions`` maps each vendor to (a, b) of sBMD = a + b·BMD; every BMD is turned into the
    scale of ``reference_vendor``, whose young mean and SD give the T-score.
    """

    model_config = FROZEN

    kind: Literal["bmd"] = "bmd"
    column: str
    unit: Literal["g/cm2"] = "g/cm2"
    skeletal_site: str
    reference_vendor: str
    conversions: dict[str, tuple[float, float]]
    reference_mean: float
    reference_sd: float = Field(gt=0)
    low: float
    high: float
    classes: tuple[str, ...] = ("normal", "osteopenia", "osteoporosis")
    class_t_scores: tuple[float, ...] = (-1.0, -2.5)

    @model_validator(mode="after")
    def _knows_its_reference(self) -> BmdLabel:
        if self.reference_vendor not in self.conversions:
            raise ValueError(
                f"label: reference_vendor must be one of {sorted(self.conversions)}, "
                f"not {self.reference_vendor}"
            )
        return self

    @property
    def is_ordered(self) -> bool:
        """Whether the classes have an order: they are cut from one number."""
        return True


class ClassLabel(BaseModel):
    """A class column; ``synonyms`` maps spellings found in tables to a class.

    ``is_ordered``: whether ``classes`` stand in an order, such as stages.
    """

    model_config = FROZEN

    kind: Literal["class"] = "class"
    column: str
    classes: tuple[str, ...] = Field(min_length=2)
    synonyms: dict[str, str] = {}
    is_ordered: bool = False


class NumberLabel(BaseModel):
    """A real-valued target with its accepted range."""

    model_config = FROZEN

    kind: Literal["number"] = "number"
    column: str
    unit: str
    low: float
    high: float


class SplitRule(BaseModel):
    """Shares of patients per split, assigned by keyed hash so that a patient never moves."""

    model_config = FROZEN

    train: float = Field(default=0.8, ge=0, le=1)
    tune: float = Field(default=0.0, ge=0, le=1)
    internal: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _adds_up(self) -> SplitRule:
        if abs(self.train + self.tune + self.internal - 1.0) > 1e-9:
            raise ValueError("split: train + tune + internal must be 1")
        return self


class CohortSchema(BaseModel):
    """One page that says what an exam is: fields, views, label, exclusions, split."""

    model_config = FROZEN

    name: str = Field(pattern="^[a-z][a-z0-9_-]{1,60}$")
    version: int = Field(ge=1)
    patient_column: str = "patient_id"
    date_column: str = "exam_date"
    date_format: str = "%Y-%m-%d"
    fields: tuple[ClinicalField, ...] = Field(min_length=1)
    views: tuple[ViewRule, ...] = ()
    label: BmdLabel | ClassLabel | NumberLabel = Field(discriminator="kind")
    max_days_between_film_and_row: int = Field(default=180, ge=0)
    minimum_age_years: float = Field(default=0.0, ge=0)
    age_field: str = ""
    max_lost_fraction: float = Field(default=0.2, ge=0, le=1)
    image_pixels: int = Field(default=128, ge=32, le=1024)
    split: SplitRule = SplitRule()

    @model_validator(mode="after")
    def _names_are_unique(self) -> CohortSchema:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"fields: names must differ, not {names}")
        return self


def read_schema(path: Path) -> CohortSchema:
    """Read and validate a schema's YAML file.

    Raises:
        SettingsError: not YAML, or not valid; every mistake is named.
    """
    content: object = None
    try:
        content = yaml.safe_load(path.read_bytes())
        return CohortSchema.model_validate(content)
    except ValidationError as error:
        raise SettingsError(
            "invalid-schema",
            f"{path.name} is not a valid cohort schema:\n"
            + "\n".join(list_mistakes(error, whole="schema", content=content)),
            hint="compare it with configs/cohort/hip_bmd.yaml",
        ) from None
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(
            "unreadable-schema", f"{path.name} cannot be read: {type(error).__name__}"
        ) from None
