"""The cohort schema: what a site's clinical table and films must look like, as data.

A schema is written in ``configs/cohort/*.yaml`` and travels by value in the plan, so that a new
disease needs a new file and no code. Everything in it is public: reference means and SDs come from
the literature, never from a cohort. Imports errors and the time to event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from shared.errors import SettingsError
from shared.exam.time_to_event import TimeToEventLabel
from shared.machine.yaml_file import YamlMistakesError, read_yaml
from shared.strict import FROZEN, refuse_contradictions

# Of a patient: what a plan can take at most, and a cohort holds.
MOST_EXAMS, MOST_FILMS = 64, 64


def _range_problems(low: float, high: float, *, mean: float | None = None) -> list[str]:
    if low >= high:
        return [f"low {low:g} must be below high {high:g}"]
    if mean is not None and not low <= mean <= high:
        return [f"reference_mean {mean:g} must lie between low {low:g} and high {high:g}"]
    return []


def _word_problems(kind: str, words: Sequence[str], synonyms: Mapping[str, str]) -> list[str]:
    """Words that a table's cells are compared with, without regard to case."""
    known = {word.strip().lower(): word for word in words}
    problems = [] if len(known) == len(words) else [f"{kind} must differ, not {list(words)}"]
    meant: dict[str, str] = {}
    for spelling, word in synonyms.items():
        other = meant.setdefault(spelling.strip().lower(), word)
        if other != word:
            problems.append(
                f"synonyms.{spelling} leads to {word} and, spelt in another case, to {other}"
            )
        if word not in words:
            problems.append(f"synonyms.{spelling} must lead to one of {list(words)}, not {word}")
        elif known.get(spelling.strip().lower(), word) != word:
            problems.append(f"synonyms.{spelling} is one of {kind} itself and cannot lead to {word}")
    return problems


class NumberField(BaseModel):
    """A clinical variable that is a number, which becomes one token.

    It is standardised with the public ``reference_mean`` and ``reference_sd``.

    Attributes:
        name: as the table's header spells it, unless the site's profile says otherwise.
        unit: canonical unit.
        units: (factor, offset) by each unit accepted in a table: canonical = factor·x + offset.
        low: smallest number that is taken, in the canonical unit.
        high: largest number that is taken.
        reference_mean: public mean, in the canonical unit.
        reference_sd: public standard deviation.
        may_be_missing: whether an exam without it is kept.
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
    def _agrees_with_itself(self) -> NumberField:
        problems = [*_range_problems(self.low, self.high, mean=self.reference_mean)]
        if self.units and self.units.get(self.unit) != (1.0, 0.0):
            problems.append(f"units must hold unit {self.unit} as [1, 0]")
        if any(factor == 0 for factor, _ in self.units.values()):
            problems.append("no factor in units may be 0")
        refuse_contradictions(problems)
        return self


class CategoryField(BaseModel):
    """A clinical variable that is one of some words, which becomes one token.

    Attributes:
        name: as the table's header spells it, unless the site's profile says otherwise.
        categories: the words.
        synonyms: category by spelling found in tables; case does not matter.
        may_be_missing: whether an exam without it is kept.
    """

    model_config = FROZEN

    kind: Literal["category"]
    name: str
    categories: tuple[str, ...]
    synonyms: dict[str, str] = {}
    may_be_missing: bool = True

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> CategoryField:
        few = ["categories must be at least 2"] if len(self.categories) < 2 else []
        problems = _word_problems("categories", self.categories, self.synonyms)
        refuse_contradictions([*few, *problems])
        return self


ClinicalField = Annotated[NumberField | CategoryField, Field(discriminator="kind")]


class ViewRule(BaseModel):
    """Which films belong to a view: anatomical site and projection (DICOM PS3.3 C.8.11.1, C.8.11.5).

    Attributes:
        name: as reports call it.
        body_parts: Body Part Examined of its films, any of these.
        positions: View Position of its films, any of these.
        allows_empty_position: whether a film without a View Position is taken.
        anatomy: landmark around which the model's window lies; empty: the whole exposed field.
        window_mm: edge of that window.
        allows_derived: whether a film is taken whose Image Type says DERIVED, as it does after a
            vendor's own resampling or stitching.
    """

    model_config = FROZEN

    name: str
    body_parts: tuple[str, ...]
    positions: tuple[str, ...]
    allows_empty_position: bool = True
    anatomy: Literal["", "hip"] = ""
    window_mm: float = Field(default=0.0, ge=0, le=500)
    allows_derived: bool = True

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ViewRule:
        if bool(self.anatomy) != bool(self.window_mm):
            raise ValueError("anatomy and window_mm go together: a landmark, and millimetres around it")
        return self


class CropRule(BaseModel):
    """An exam's images are windows around bones that the hospital has marked, one for each.

    Attributes:
        source: what marks them: `boxes` of a table, or `masks`, PNG files or DICOM SEG.
        units: what is cropped, such as L1; level k of a mask stands for the k-th.
        margin: share of a box's own height and width that is added on every side.
        keeps_film: whether the whole film is an image of the exam too.
    """

    model_config = FROZEN

    source: Literal["boxes", "masks"]
    units: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(default=0.15, ge=0, le=1)
    keeps_film: bool = False

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> CropRule:
        refuse_contradictions(_word_problems("units", self.units, {}))
        return self


class BmdLabel(BaseModel):
    """A bone mineral density measured by DXA, converted to one vendor's scale and to a T-score.

    Every BMD is turned into the scale of ``reference_vendor``, whose young mean and SD give the
    T-score.

    Attributes:
        column: the table's column.
        unit: of the column.
        skeletal_site: region that was measured; the site's profile must name the same.
        reference_vendor: on whose scale labels are.
        conversions: (a, b) of sBMD = a + b·BMD by vendor.
        reference_mean: young mean of the reference vendor, in g/cm².
        reference_sd: young standard deviation.
        low: smallest BMD that is taken, in g/cm².
        high: largest BMD that is taken.
        classes: by falling T-score.
        class_t_scores: T-scores at or below which the next class begins.
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
    def _agrees_with_itself(self) -> BmdLabel:
        problems = [*_range_problems(self.low, self.high, mean=self.reference_mean)]
        if self.reference_vendor not in self.conversions:
            known = sorted(self.conversions)
            problems.append(f"reference_vendor must be one of {known}, not {self.reference_vendor}")
        if any(slope <= 0 for _, slope in self.conversions.values()):
            problems.append("every slope b in conversions [a, b] must be above 0")
        problems += _word_problems("classes", self.classes, {})
        if len(self.class_t_scores) != len(self.classes) - 1:
            problems.append(
                f"class_t_scores must be {len(self.classes) - 1}, one between two classes, "
                f"not {len(self.class_t_scores)}"
            )
        if any(later >= before for before, later in pairwise(self.class_t_scores)):
            problems.append("class_t_scores must fall, as classes go from well to ill")
        refuse_contradictions(problems)
        return self

    @property
    def is_ordered(self) -> bool:
        """Whether the classes have an order: they are cut from one number."""
        return True


class ClassLabel(BaseModel):
    """A class column.

    Attributes:
        column: the table's column.
        classes: the words.
        synonyms: class by spelling found in tables; case does not matter.
        is_ordered: whether ``classes`` stand in an order, such as stages.
    """

    model_config = FROZEN

    kind: Literal["class"] = "class"
    column: str
    classes: tuple[str, ...] = Field(min_length=2)
    synonyms: dict[str, str] = {}
    is_ordered: bool = False

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ClassLabel:
        refuse_contradictions(_word_problems("classes", self.classes, self.synonyms))
        return self


class NumberLabel(BaseModel):
    """A real-valued target with its accepted range.

    Attributes:
        column: the table's column.
        unit: of the column.
        low: smallest number that is taken.
        high: largest number that is taken.
        reference_mean: public mean, by which a task standardises the target; null: the middle of the
            range.
        reference_sd: public standard deviation for that; null: a fifth of the range.
    """

    model_config = FROZEN

    kind: Literal["number"] = "number"
    column: str
    unit: str
    low: float
    high: float
    reference_mean: float | None = None
    reference_sd: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> NumberLabel:
        problems = _range_problems(self.low, self.high, mean=self.reference_mean)
        widest = (self.high - self.low) / 2  # half at either end
        if not problems and self.reference_sd is not None and self.reference_sd > widest:
            problems.append(
                f"reference_sd {self.reference_sd:g} must be at most {widest:g}, half the range"
            )
        refuse_contradictions(problems)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of a label without a reference keeps the hash that it had before there was one
        return {name: value for name, value in write(self).items() if value is not None}


Label = BmdLabel | ClassLabel | NumberLabel | TimeToEventLabel
FilmFiles = Literal["dicom", "png_tree"]
Split = Literal["train", "tune", "internal"]


class SplitRule(BaseModel):
    """Who trains and who is held out: shares of patients, by keyed hash so that a patient never moves.

    Attributes:
        train: share that trains.
        tune: share kept from training and validation, for what is calibrated later.
        internal: share held out for internal validation.
        column: of the table, where that says each patient's split; empty: the keyed hash does.
        synonyms: words of that column, and the split each stands for.
        stratified: the shares hold within each class. One patient may then move others, so that nothing
            private can be released: with privacy off and governed validations only.
    """

    model_config = FROZEN

    train: float = Field(default=0.8, ge=0, le=1)
    tune: float = Field(default=0.0, ge=0, le=1)
    internal: float = Field(default=0.2, ge=0, le=1)
    column: str = ""
    synonyms: dict[str, Split] = {"test": "internal", "val": "tune"}
    stratified: bool = False

    @model_validator(mode="after")
    def _adds_up(self) -> SplitRule:
        if abs(self.train + self.tune + self.internal - 1.0) > 1e-9:
            raise ValueError("split: train + tune + internal must be 1")
        if self.column and self.stratified:
            raise ValueError("split: column and stratified exclude each other")
        return self


class CohortSchema(BaseModel):
    """One page that says what an exam is: fields, views, label, exclusions, split.

    Attributes:
        name: of the cohort; folders and commands use it.
        version: of this schema, raised by whoever changes it.
        patient_column: column of the patient's number; null: every row is another patient, named by all
            that the row says, so that a row that is corrected is a new patient to the ledger.
        date_column: column of the exam's date; null: a patient has one row, and nothing is prospective.
        date_format: of that date, as strptime reads it.
        fields: clinical variables, one token each; a table's needs one, a tree of PNG files has none.
        views: kinds of films, which need patient numbers and dates; none: the clinical table alone.
        films: what they are: `dicom`, or `png_tree`: PNG files in `part/patient/study_label`, where
            folders are the table, dates and the size of pixels are unknown, and studies of a patient
            stand in the order of their numbers.
        crops: what of the films is seen, where that is not a window around an anatomy or the whole.
        label: what is predicted.
        max_days_between_film_and_row: a row further from a film does not describe it.
        minimum_age_years: exams of younger patients are left out.
        age_field: number field that holds the age in years; ages above 90 are taken as 90.
        max_lost_fraction: an intake that loses a larger share of patients is refused.
        image_pixels: side to which films are scaled.
        split: who trains and who is held out.
    """

    model_config = FROZEN

    name: str = Field(pattern="^[a-z][a-z0-9_-]{1,60}$")
    version: int = Field(ge=1)
    patient_column: str | None = "patient_id"
    date_column: str | None = "exam_date"
    date_format: str = "%Y-%m-%d"
    fields: tuple[ClinicalField, ...] = ()
    views: tuple[ViewRule, ...] = ()
    films: FilmFiles = "dicom"
    crops: CropRule | None = None
    label: Label = Field(discriminator="kind")
    max_days_between_film_and_row: int = Field(default=180, ge=0)
    minimum_age_years: float = Field(default=0.0, ge=0)
    age_field: str = ""
    max_lost_fraction: float = Field(default=0.2, ge=0, le=1)
    image_pixels: int = Field(default=128, ge=32, le=1024)
    split: SplitRule = SplitRule()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> CohortSchema:
        refuse_contradictions(_contradictions(self.model_dump()))
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of whole DICOM films keeps the hash that it had before there were others
        written: dict[str, object] = write(self)
        usual = {"films": "dicom", "crops": None}
        return {name: value for name, value in written.items() if usual.get(name, ...) != value}


def _contradictions(content: object) -> list[str]:
    """What a schema says of one thing in two places, of a file too whose parts are not all valid."""
    if not isinstance(content, Mapping):
        return []
    whole = {name: field.default for name, field in CohortSchema.model_fields.items()} | dict(content)
    label, split = (_settings(whole[name]) for name in ("label", "split"))
    fields, views = (_named(whole[name]) for name in ("fields", "views"))
    names = [whole["patient_column"], whole["date_column"], split.get("column")]
    names += [label.get("column"), label.get("status_column")]
    columns = Counter(name for name in (*names, *(each["name"] for each in fields)) if name)
    problems = [
        f"column {name} stands for {count} things; patient, date, label and fields must differ"
        for name, count in columns.items()
        if count > 1
    ]
    if whole["crops"] and not views:
        problems.append("crops need at least one view: they are cut from films")
    if whole["films"] == "png_tree":
        problems += _tree_problems(whole)
    elif views and not (whole["patient_column"] and whole["date_column"]):
        problems.append("views need patient_column and date_column: films meet rows by both")
    if whole["films"] != "png_tree" and not whole["fields"]:
        problems.append("fields must hold at least one clinical variable")
    if split.get("stratified") and label.get("kind") == "number":
        problems.append("split.stratified needs a label with classes, not a number")
    names = [view["name"] for view in views]
    if len(set(names)) != len(names):
        problems.append(f"views must differ in name, not {names}")
    numbers = [each["name"] for each in fields if each.get("kind") != "category"]
    age = whole["age_field"]
    if age and age not in numbers:
        problems.append(f"age_field must be one of the numbers {numbers}, not {age}")
    if whole["minimum_age_years"] and not age:
        problems.append("minimum_age_years needs age_field, the number that holds the age")
    return problems


def _tree_problems(whole: Mapping[str, object]) -> list[str]:
    """What a tree of PNG files cannot say: dates, clinical variables, a label that is a number."""
    label = _settings(whole["label"])
    asked = {
        "views, at least one": bool(whole["views"]),
        "a patient_column": bool(whole["patient_column"]),
        "date_column: null": whole["date_column"] is None,
        "fields: []": not whole["fields"],
        "max_days_between_film_and_row: 0": whole["max_days_between_film_and_row"] == 0,
        "a label of kind class": label.get("kind") in ("class", None),
        "no split.column": not _settings(whole["split"]).get("column"),
    }
    missing = [name for name, is_so in asked.items() if not is_so]
    return [f"films: png_tree needs {', '.join(missing)}"] if missing else []


def _settings(value: object) -> Mapping[str, object]:
    """A part of a file that may be anything: its settings, none where it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def _named(value: object) -> list[Mapping[str, object]]:
    """The parts of a list that have a name."""
    parts = [_settings(each) for each in value] if isinstance(value, list | tuple) else []
    return [part for part in parts if isinstance(part.get("name"), str)]


def schema_differences(one: CohortSchema, other: CohortSchema) -> list[str]:
    """Where two schemas differ: settings by their names, fields and views by theirs."""
    parts = [_named_parts(schema) for schema in (one, other)]
    names = dict.fromkeys([*parts[0], *parts[1]])
    return [name for name in names if parts[0].get(name) != parts[1].get(name)]


def _named_parts(schema: CohortSchema) -> dict[str, object]:
    content = schema.model_dump(mode="json")
    parts: dict[str, object] = {}
    for kind in ("fields", "views"):
        parts |= {f"{kind}.{part['name']}": part for part in content.pop(kind)}
    label = {f"label.{name}": value for name, value in content.pop("label").items()}
    return content | parts | label


def read_schema(path: Path) -> CohortSchema:
    """Read and validate a schema's YAML file.

    Raises:
        SettingsError: missing, not YAML, or not valid; every mistake is named with its line.
    """
    try:
        return read_yaml(path, CohortSchema, whole="schema", contradictions=_contradictions)
    except YamlMistakesError as error:
        raise SettingsError(
            "invalid-schema",
            f"{path.name} is not a valid cohort schema:\n{error}",
            hint="docs/reference/cohort-schema.md says what it holds; configs/cohort has examples",
        ) from None
