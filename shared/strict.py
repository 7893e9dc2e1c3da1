"""How files and settings are validated: strictly, and with every mistake on a line of its own.

Values are repeated only where a coordinator typed them, never where a hospital's file was read.
Imports nothing of the project.
"""

from __future__ import annotations

from pydantic import ConfigDict, ValidationError

# Of every validated object: unknown keys are refused, values stay, and no error repeats a value.
FROZEN = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def list_mistakes(error: ValidationError, *, whole: str, shows_values: bool = False) -> list[str]:
    """One indented line per mistake: where, what is allowed, and the value if it may be shown.

    Args:
        error: pydantic's.
        whole: name of the whole, where a mistake has no place of its own.
        shows_values: whether the received value may be repeated.
    """
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or whole
        text = item["msg"].removeprefix("Value error, ")
        value = item.get("input")
        if item["type"] == "extra_forbidden":
            text = "is not a setting"
        elif shows_values and isinstance(value, str | int | float | bool):
            text += f", not {value!r}"
        lines.append(f"  {place}: {text}")
    return lines
