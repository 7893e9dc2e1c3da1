"""The fields of a validated object or record, with what each takes and means.

Meanings are read from ``Attributes:`` of the class and of those it builds on.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from inspect import cleandoc
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as limits
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from reference.markdown import cell, code, slug, table

from shared.contract.plan import HASH, HASH_OR_NONE

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    bytes: "bytes",
    datetime: "time (ISO 8601)",
    date: "day (ISO 8601)",
}
_PLURALS = {"text": "texts", "whole number": "whole numbers", "number": "numbers", "object": "objects"}
_ACRONYMS = {"Bmd": "BMD", "Fhir": "FHIR"}
# Classes whose headings would else be those of others.
_TITLES = {"PlanSettings": "SharedSettings", "BlockSettings": "TableBlocks"}
# Patterns that have words.
_PATTERNS = {HASH: "of 64 hex digits", HASH_OR_NONE: "of 64 hex digits, or empty"}
_UNIONS = (Union, UnionType)


@dataclasses.dataclass(frozen=True)
class Row:
    """One field. ``default`` is `required` where there is none."""

    name: str
    takes: str
    default: str
    meaning: str


def setting_table(
    kind: type, *, defaults: Mapping[str, str] = MappingProxyType({}), prefix: str = ""
) -> list[str]:
    """Lines of the table of a model that people fill in.

    Args:
        kind: the model.
        defaults: other defaults than the model's, by name, as they are to be shown.
        prefix: put before each name.
    """
    rows = [
        (code(prefix + row.name), row.takes, defaults.get(row.name, row.default), row.meaning)
        for row in rows_of(kind)
    ]
    return table(("setting", "takes", "default", "meaning"), rows)


def field_table(kind: type) -> list[str]:
    """Lines of the table of a record that programs write."""
    return table(
        ("field", "is", "meaning"), [(code(row.name), row.takes, row.meaning) for row in rows_of(kind)]
    )


def title_of(kind: type) -> str:
    """A heading: the class's name as people write it."""
    name = _TITLES.get(kind.__name__, kind.__name__.removesuffix("Settings"))
    words = re.findall("[A-Z][a-z0-9]*", name)
    first, *rest = (_ACRONYMS.get(word, word) for word in words)
    return " ".join([first, *(word.lower() for word in rest)])


def rows_of(kind: type) -> list[Row]:
    """Every field of a pydantic model or dataclass, in order."""
    told = meanings(kind)
    if issubclass(kind, BaseModel):
        return [
            Row(
                field.alias or name,
                takes(field.annotation, field),
                _default(field),
                told.get(name) or _naming(field),
            )
            for name, field in kind.model_fields.items()
        ]
    hints = get_type_hints(kind, include_extras=True)
    return [
        Row(field.name, takes(hints[field.name]), "", told.get(field.name, ""))
        for field in dataclasses.fields(kind)
    ]


def _naming(field: FieldInfo) -> str:
    """The meaning of a field that tells kinds apart; nothing of any other."""
    is_word = get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    return "names this kind." if is_word else ""


def meanings(kind: type) -> dict[str, str]:
    """Meanings by field, from ``Attributes:`` of the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed([each for each in kind.__mro__ if each is not BaseModel]):
        found |= dict(_attributes(each.__dict__.get("__doc__") or ""))
    return found


def summary(kind: object) -> str:
    """A docstring without its sections."""
    text = cleandoc(kind.__doc__ or "")
    return plain(re.split(r"^\w+:$", text, maxsplit=1, flags=re.MULTILINE)[0].strip())


def plain(text: str) -> str:
    """Paragraphs in one line each, with Markdown's backticks."""
    return "\n\n".join(cell(part).replace("\\|", "|") for part in text.split("\n\n"))


def _attributes(docstring: str) -> Iterator[tuple[str, str]]:
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", cleandoc(docstring), flags=re.MULTILINE)
    if section:
        for entry in re.split(r"\n(?=    \S)", section[1].rstrip()):
            name, _, text = entry.strip().partition(":")
            yield name, re.sub(r"\s+", " ", text).strip()


def takes(annotation: Any, field: FieldInfo | None = None) -> str:
    """What a field takes, in words: its type and its limits."""
    words = _type(annotation)
    found = _limits(field.metadata if field else ())
    if not found:
        return words
    head = words.removesuffix(" or `null`")
    return f"{head}{found}{', or `null`' if head != words else ''}"


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0]) + _limits(parts[1:])
    if origin is Literal:
        return " · ".join(value(word) for word in parts)
    if origin in _UNIONS:
        is_open = type(None) in parts
        words = [_type(part) for part in parts if part is not type(None)]
        return " or ".join([*words, "`null`"] if is_open else words)
    if origin is list or parts[1:] == (...,):
        return f"list of {_PLURALS.get(_type(parts[0]), _type(parts[0]))}"
    if origin is tuple:
        return f"[{', '.join(map(_type, parts))}]"
    if origin is dict:
        return "object" if parts[1] is object else f"map: {_type(parts[0])} → {_type(parts[1])}"
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    ):
        return code(annotation.__name__)
    return _WORDS.get(annotation, "array of numbers")


def _limits(given: Sequence[Any]) -> str:
    words = [_limit(each) for each in given]
    return "".join(f"{',' if index else ''} {word}" for index, word in enumerate(filter(None, words)))


def _limit(given: Any) -> str:
    for kind, sign in ((limits.Ge, "≥"), (limits.Gt, ">"), (limits.Le, "≤"), (limits.Lt, "<")):
        if isinstance(given, kind):
            return f"{sign} {_number(getattr(given, kind.__name__.lower()))}"
    if isinstance(given, limits.MinLen):
        return f"of {given.min_length} or more"
    if isinstance(given, limits.MaxLen):
        return f"of {given.max_length} at most"
    pattern = getattr(given, "pattern", None)
    return _PATTERNS.get(pattern, f"like `{pattern}`") if pattern else ""


def _number(given: float) -> str:
    return f"{given:,.0f}" if given >= 1 and float(given).is_integer() else f"{given:g}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "required" if default is PydanticUndefined else value(default)


def value(given: Any) -> str:
    """A default as YAML has it."""
    if isinstance(given, BaseModel):
        return "each field's own"
    if given is None or isinstance(given, bool):
        return code({None: "null", True: "true", False: "false"}[given])
    if isinstance(given, float):
        return code(f"{given:g}")
    if isinstance(given, dict):
        return code("{" + ", ".join(f"{key}: {each}" for key, each in given.items()) + "}")
    if isinstance(given, Sequence) and not isinstance(given, str):
        return code("[" + ", ".join(map(str, given)) + "]")
    return code(str(given).encode("unicode_escape").decode() if given != "" else '""')


def section(kind: type, *, level: int = 2, lines: Sequence[str] | None = None) -> list[str]:
    """Heading, what it is, and a table; ``lines``: another than that of its settings."""
    head = ["", f"{'#' * level} {title_of(kind)}", "", summary(kind)]
    return [*head, *(setting_table(kind) if lines is None else lines)]


def linked(
    lines: Sequence[str],
    kinds: Sequence[type],
    *,
    elsewhere: Mapping[type, str] = MappingProxyType({}),
) -> list[str]:
    """Lines of a page in which names of models lead to where they are described.

    Args:
        lines: of tables.
        kinds: described on the page.
        elsewhere: addresses of those that are described on another.
    """
    places = {**elsewhere, **{kind: f"#{slug(title_of(kind))}" for kind in kinds}}
    found = list(lines)
    for kind, place in places.items():
        link = f"[{title_of(kind)}]({place})"
        found = [line.replace(code(kind.__name__), link) for line in found]
    return found
