"""How files and settings are validated: strictly, and with every mistake on a line of its own.

Values are repeated only where a coordinator typed them, never where a hospital's file was read.
Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ConfigDict, ValidationError

# Of every validated object: unknown keys are refused, values stay, and no error repeats a value.
FROZEN = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def list_mistakes(
    error: ValidationError, *, whole: str, content: object = None, shows_values: bool = False
) -> list[str]:
    """One indented line per mistake: where, what is allowed, and the value if it may be shown.

    Args:
        error: pydantic's.
        whole: name of the whole, where a mistake has no place of its own.
        content: what was validated, so that a place is named as it is written there.
        shows_values: whether the received value may be repeated.
    """
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(_place(item["loc"], content, kind=item["type"])) or whole
        text = item["msg"].removeprefix("Value error, ")
        value = item.get("input")
        if item["type"] == "extra_forbidden":
            text = "is not a setting"
        elif item["type"] == "union_tag_invalid":
            # pydantic's own text repeats the value, whoever typed it
            told = item["ctx"]
            place += f".{told['discriminator'].strip(chr(39))}"
            text = f"must be one of {told['expected_tags']}"
            text += f", not {told['tag']!r}" if shows_values else ""
        elif shows_values and isinstance(value, str | int | float | bool):
            text += f", not {value!r}"
        lines.append(f"  {place}: {text}")
    return lines


def _place(parts: Sequence[int | str], content: object, *, kind: str) -> list[str]:
    """A mistake's place without the names of variants (``kind: number``), which nobody has written."""
    place = []
    for index, part in enumerate(parts):
        rest = parts[index + 1 :]
        if isinstance(content, Mapping) and part not in content:
            is_lacking = kind == "missing" and len(rest) == 1
            if (rest and rest[0] in content) or is_lacking or (not rest and kind == "value_error"):
                continue
        place.append(str(part))
        content = _step(content, part)
    return place


def _step(content: object, part: int | str) -> object:
    if isinstance(content, Mapping):
        return content.get(part)
    if isinstance(content, Sequence) and not isinstance(content, str) and isinstance(part, int):
        return content[part] if part < len(content) else None
    return None
