"""How files and settings are validated: strictly, and with every mistake on a line of its own.

Values are repeated only where a coordinator typed them, never where a hospital's file was read.
Imports nothing of the project.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

# Of every validated object: unknown keys are refused, values stay, and no error repeats a value.
FROZEN = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

# Names and numbers that lead from a whole to a part of it.
Place = list[int | str]

_QUOTED = re.compile("'([^']*)'")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


def list_mistakes(
    error: ValidationError,
    *,
    whole: str,
    content: object = None,
    shows_values: bool = False,
    model: type[BaseModel] | None = None,
    where: Callable[[Place], str] = lambda _: "",
    advice: Callable[[str], str] = lambda _: "",
) -> list[str]:
    """One indented line per mistake: where, what is allowed, and the value if it may be shown.

    Args:
        error: pydantic's.
        whole: name of the whole, where a mistake has no place of its own.
        content: what was validated, so that a place is named as it is written there; ``...`` in it
            stands for what is still to be given.
        shows_values: whether the received value may be repeated.
        model: what it was validated as, so that a misspelt name is answered by the right one.
        where: what to say of a place besides its name, such as its line.
        advice: what to say of a name that is none here, instead of which names there are.
    """
    lines = []
    for item in error.errors(include_url=False):
        place = _place(item["loc"], content, kind=item["type"])
        text = item["msg"].removeprefix("Value error, ")
        value = item.get("input")
        told = item.get("ctx", {})
        if item["type"] == "extra_forbidden":
            text = advice(str(place[-1])) or (
                "is not a setting" + nearest(str(place[-1]), _names_beside(model, item["loc"]))
            )
        elif item["type"] == "union_tag_invalid":
            # pydantic's own text repeats the value, whoever typed it
            place = [*place, told["discriminator"].strip("'")]
            text = advice(str(told["tag"])) or _one_of(told, shows_values=shows_values)
        elif value is ...:
            text = "must be given"
        elif shows_values and isinstance(value, str | int | float | bool):
            text += f", not {value!r}"
        if item["type"] == "literal_error":
            text += nearest(str(value), _QUOTED.findall(told["expected"]))
        text += _how_to_write(item["type"], value)
        named = _in_words(place, content) or whole
        lines += [f"  {named}: {each}{where(place)}" for each in text.splitlines()]
    return lines


def _one_of(told: Mapping[str, str], *, shows_values: bool) -> str:
    allowed, given = told["expected_tags"], told["tag"]
    shown = f", not {given!r}" if shows_values else ""
    return f"must be one of {allowed}{shown}" + nearest(given, _QUOTED.findall(allowed))


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The allowed name that a misspelt one comes closest to, as a question; empty where none does."""
    words = {each.lower(): each for each in allowed if each != name}
    found = get_close_matches(name.lower(), list(words), n=1)
    return f"; did you mean {words[found[0]]}?" if found else ""


def require_printable(values: object) -> object:
    """Of a validator that runs before the others: every text, names included, must be printable.

    A person approves what a terminal shows: a text could clear it, paint over it or run backwards.

    Raises:
        ValueError: a text holds a control or format character, or an end of line.
    """
    for place, text in _texts(values, ""):
        if not text.isprintable():
            raise ValueError(f"{place or 'a name'} must be of printable characters on one line")
    return values


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a value, with its place by printable names; names too, which have no place."""
    if isinstance(value, str):
        yield place, value
        return
    if isinstance(value, BaseModel):
        value = vars(value)
    if isinstance(value, Mapping):
        yield from (("", name) for name in value if isinstance(name, str))
        parts: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        parts = enumerate(value)
    else:
        return
    for name, part in parts:
        yield from _texts(part, f"{place}.{name}" if place else str(name))


def refuse_contradictions(problems: Iterable[str]) -> None:
    """Of a validator: every problem becomes a line of its own.

    Raises:
        ValueError: there is one.
    """
    found = list(problems)
    if found:
        raise ValueError("\n".join(found))


def _how_to_write(kind: str, value: object) -> str:
    """What YAML makes of a value that a person meant otherwise."""
    if kind == "string_type" and isinstance(value, bool):
        return "; put it in quotes: YAML reads yes, no, on and off as true or false"
    if kind == "string_type" and isinstance(value, int | float | date):
        return "; put it in quotes"
    if kind == "float_parsing" and isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        return "; write a point, not a comma"
    if kind in ("model_type", "dict_type") and value is None:
        return "; it is empty"
    return ""


def _names_beside(model: type[BaseModel] | None, place: Sequence[int | str]) -> set[str]:
    """Names of the settings that may stand where a wrong one does."""
    models = _models_in(model)
    for part in place[:-1]:
        fields = [each.model_fields[part] for each in models if part in each.model_fields]
        # neither a number nor the name of a variant leads anywhere else
        models = {each for field in fields for each in _models_in(field.annotation)} or models
    return {name for each in models for name in each.model_fields}


def _models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in _models_in(part)}


def _in_words(place: Place, content: object) -> str:
    """A place with dots; what has a name in a list is called by it, not by its number."""
    words = []
    for part in place:
        content = _step(content, part)
        named = content.get("name") if isinstance(content, Mapping) else None
        words.append(named if isinstance(part, int) and isinstance(named, str) else str(part))
    return ".".join(words)


def _place(parts: Sequence[int | str], content: object, *, kind: str) -> Place:
    """A mistake's place without the names of variants (``kind: number``), which nobody has written."""
    place: Place = []
    for index, part in enumerate(parts):
        rest = parts[index + 1 :]
        if isinstance(content, Mapping) and part not in content:
            is_lacking = kind == "missing" and len(rest) == 1
            if (rest and rest[0] in content) or is_lacking or (not rest and kind == "value_error"):
                continue
        place.append(part)
        content = _step(content, part)
    return place


def _step(content: object, part: int | str) -> object:
    if isinstance(content, Mapping):
        return content.get(part)
    if isinstance(content, Sequence) and not isinstance(content, str) and isinstance(part, int):
        return content[part] if part < len(content) else None
    return None
