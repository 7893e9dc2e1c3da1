"""What a site declares about its own clinical table, films and DXA scanner, so that no code guesses.

A profile is written by the hospital (part of ``site.yaml``) and never travels. Imports the schema's
model settings only.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, field_validator

from shared.strict import FROZEN

MISSING_TOKENS = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "unknown", "-", "--", "?"}
)


class FhirMapping(BaseModel):
    """Where a FHIR R4 bundle holds what the schema names.

    Attributes:
        codes: codes of Observations (LOINC) by name of the schema: a field or the label's column.
        from_patient: fields that the Patient holds: ``age`` (from birthDate) or ``gender``.
        identifier_system: which identifier is the patient's number; null: the resource's id.
        code_system: system of the codes.
    """

    model_config = FROZEN

    codes: dict[str, str] = {}
    from_patient: dict[str, Literal["age", "gender"]] = {}
    identifier_system: str | None = None
    code_system: str = "http://loinc.org"


class FilmWords(BaseModel):
    """The hospital's words for what a film shows, besides the common ones that are known anyway.

    Case, accents and dots do not matter. ``osteofed-site cohort`` lists the words that were found.

    Attributes:
        body_parts: the term of DICOM by a word, such as ``BECKEN TIEF: PELVIS``; the word ``""`` stands
            for films that name no part.
        positions: the view position by a word; ``""`` stands for films that name none.
        sides: L, R or B by a word, wherever in a text it stands.
        views: the schema's view by a whole text of any attribute that is read, for what a part and a
            position cannot say.
        units: the schema's unit of a crop by a word of a box's row, a mask's file or level, or a
            segment's label, such as ``LWK1: L1``.
        descriptions: attributes in free text that are read where the coded ones say nothing.
    """

    model_config = FROZEN

    body_parts: dict[str, str] = {}
    positions: dict[str, str] = {}
    sides: dict[str, Literal["L", "R", "B"]] = {}
    views: dict[str, str] = {}
    units: dict[str, str] = {}
    descriptions: tuple[Literal["SeriesDescription", "ProtocolName", "StudyDescription"], ...] = (
        "SeriesDescription",
        "ProtocolName",
        "StudyDescription",
    )


class SiteProfile(BaseModel):
    """Site-local names, units and conventions.

    Attributes:
        columns: the table's header by name of the schema (patient, date, label column, field,
            ``<field>_unit``); names not listed are spelt as in the schema.
        units: unit of a field where the table has no ``<field>_unit`` column.
        not_collected: optional fields that the table does not have: missing for everybody, on purpose
            and not by a typing error.
        missing_tokens: further texts that say "no value", besides an empty cell, NA, null and the like.
        separator: between the cells of a CSV file.
        decimal: sign before the decimals of a number.
        encoding: of a CSV file, by Python's name.
        date_format: of the exam's date, as strptime reads it; null: the schema's.
        has_labels: false for a table without any label.
        dxa_vendor: who made the DXA scanner; needed for BMD labels, which are converted by it.
        dxa_skeletal_site: region whose BMD the table holds; needed for BMD labels.
        issuer: who issues the site's patient numbers.
        default_laterality: side of films that name none, in a tag or in words.
        films: the site's words for body parts, view positions and views.
        fhir: read only where rows come as FHIR bundles.
    """

    model_config = FROZEN

    columns: dict[str, str] = {}
    units: dict[str, str] = {}
    not_collected: tuple[str, ...] = ()
    missing_tokens: tuple[str, ...] = ()
    separator: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8-sig"
    date_format: str | None = None
    has_labels: bool = True
    dxa_vendor: str | None = None
    dxa_skeletal_site: str | None = None
    issuer: str = ""
    default_laterality: Literal["L", "R", "B"] | None = None
    films: FilmWords = FilmWords()
    fhir: FhirMapping = FhirMapping()

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError("must name an encoding of text, such as utf-8-sig or cp1252") from None
        return value

    def column(self, name: str) -> str:
        """The table's header for a name of the schema."""
        return self.columns.get(name, name)

    def is_missing(self, text: str) -> bool:
        """Whether a cell says "no value"."""
        folded = text.strip().lower()
        return folded in MISSING_TOKENS or text.strip() in self.missing_tokens
