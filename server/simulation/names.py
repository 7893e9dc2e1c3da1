"""Names of simulated hospitals: made of a table's values, and held against what a site may be called.

Imports nothing of the project.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

# What arms, places and rows of a report are called.
_RESERVED = ("federated", "pooled", "internal", "external", "prospective")
_SITE_NAME = re.compile("[a-z][a-z0-9-]{1,40}")
# Letters that are no other letter with an accent.
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)


def site_name(value: str) -> str:
    """A site's name made of one value; empty where no letter or digit of it can be told.

    Lower case, accents folded (``Łódź`` is ``lodz``), dashes for the rest, a letter first.
    """
    folded = unicodedata.normalize("NFKD", value.strip().casefold().translate(_LETTERS))
    bare = "".join(sign for sign in folded if not unicodedata.combining(sign))
    plain = re.sub("[^a-z0-9]+", "-", bare).strip("-")
    if not plain:
        return ""
    return (plain if re.match("[a-z][a-z0-9-]", plain) else f"site-{plain}")[:41].rstrip("-")


def site_names(values: Sequence[str]) -> dict[str, str]:
    """Sites' names by value, in any script: what has none is numbered among all values."""
    return {
        value: site_name(value) or f"site-{number}" for number, value in enumerate(sorted(values), 1)
    }


def name_problems(named: Sequence[str], made: Sequence[tuple[str, str]]) -> list[str]:
    """A line for every name that no site may have, or that several have.

    Args:
        named: names that were typed.
        made: names that were made of values, each with what it was made of.
    """
    values: dict[str, list[str]] = defaultdict(list)
    for name, value in made:
        values[name].append(value)
    problems = []
    for name in dict.fromkeys([*named, *values]):
        n_typed, found = named.count(name), values[name]
        if not _SITE_NAME.fullmatch(name):
            guess = site_name(name)
            problems.append(
                f"  {name}: a hospital's name must be 2 to 41 lower-case letters, digits and dashes"
                + (f"; did you mean {guess}?" if guess else "")
            )
        if name in _RESERVED:
            problems.append(f"  {name}: a hospital cannot be called so, results are")
        if n_typed + len(found) > 1:
            whose = f" ({', '.join(found)})" if found else ""
            problems.append(
                f"  {name}: {n_typed + len(found)} hospitals have this name{whose}; each needs its own"
            )
    return problems
