"""How the films of a cohort became images: what their tags made of them, and what was found in them.

Counts for the hospital itself. Imports the cohort folder only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from client.cohort.folder import Cohort
from shared.exam.pixels import Framing

# Name → what it says of a film, and whether it holds.
FRAMINGS: Mapping[str, tuple[str, Callable[[Framing], bool]]] = {
    "scale_found": (
        "no tag tells their scale: it was found in the picture",
        lambda framing: framing.is_scale_found,
    ),
    "inverted": (
        "stored with dark bones, as their tags say: inverted",
        lambda framing: "inverted" in framing.changes,
    ),
    "dark_bones": (
        "bones were dark, against their tags: inverted",
        lambda framing: framing.is_inverted,
    ),
    "turned": (
        "stored turned, as their tags say: turned back",
        lambda framing: "turned" in framing.changes,
    ),
    "flipped": (
        "stored as a mirror image, as their tags say: flipped back",
        lambda framing: "flipped" in framing.changes,
    ),
    "bordered": (
        "with a border that was not exposed: cut off",
        lambda framing: framing.exposed < 1,
    ),
    "window_cut": (
        "a part of the window was not exposed, or lies beyond the film: black there",
        lambda framing: framing.window_exposed < 1,
    ),
}


def count_framing(cohort: Cohort) -> dict[str, int]:
    """How many films each name of ``FRAMINGS`` is true of, 0 too; none of a cohort without films."""
    framings = [film.framing for exam in cohort.exams for film in exam.films]
    if not framings:
        return {}
    return {name: sum(map(holds, framings)) for name, (_, holds) in FRAMINGS.items()}


def framing_in_words(cohort: Cohort) -> dict[str, int]:
    """The same counts by what they say."""
    return {FRAMINGS[name][0]: n for name, n in count_framing(cohort).items()}
