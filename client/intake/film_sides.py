"""Which side a film names in words: LHIP, HIP LT, LINKE HÜFTE, HANCHE G.

A whole word says it anywhere in a text; an abbreviation only beside a body part, since R, D and DX mean
other things elsewhere. A text that names both sides means both. Pure; imports the vocabulary, the
folding of film words and the profile's settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from client.intake.film_vocabulary import (
    BODY_PARTS,
    POSITIONS,
    SHORT_SIDES,
    SIDES,
    UNPAIRED,
    WHOLE_SIDES,
)
from client.intake.film_words import DESCRIPTIONS, LONGEST, SHORTEST, fold, part_of, words_of
from client.site.profile import FilmWords
from shared.exam.schema import ViewRule

Side = Literal["L", "R", "B"]

CONFLICTING_SIDE = "intake.conflicting-side"
# Nearest to the film first. A study may hold films of both sides: it speaks where nothing else does.
_ATTRIBUTES = ("BodyPartExamined", *DESCRIPTIONS)
_OF_STUDY = "StudyDescription"
_PARTS = frozenset(words_of(BODY_PARTS))
# A view position of its own, as the left lateral of a chest: no side of a body part.
_SIDED_POSITIONS = frozenset(
    word for word in words_of(POSITIONS) if word.startswith(("LEFT ", "RIGHT "))
)
_WHOLE: Mapping[str, Side] = {
    word: side for side, words in WHOLE_SIDES.items() for word in words.split(", ")
}


def is_paired(view: ViewRule) -> bool:
    """Whether a view's films have a side: a chest, a spine or a pelvis as a whole has none."""
    return any(part_of(word) not in UNPAIRED for word in view.body_parts)


def named_side(words: Mapping[str, str], own: FilmWords) -> Side | None:
    """The side that the attribute nearest to the film names, None where none does.

    Args:
        words: texts by DICOM keyword; attributes that the hospital does not read are left out.
        own: the hospital's words, of which parts and sides count here.
    """
    sides = (side_in(words.get(name, ""), own) for name in _read(own))
    return next((side for side in sides if side), None)


def contradicts(tagged: Side | None, words: Mapping[str, str], own: FilmWords) -> bool:
    """Whether the words for a film or its series name the other side than its tag."""
    named = named_side({name: text for name, text in words.items() if name != _OF_STUDY}, own)
    return {tagged, named} == {"L", "R"}


def side_in(text: str, own: FilmWords) -> Side | None:
    """The side that a text names; both sides are B."""
    found = set(_sides(fold(text).split(), own))
    return found.pop() if len(found) == 1 else "B" if found else None


def _read(own: FilmWords) -> Iterator[str]:
    return (name for name in _ATTRIBUTES if name not in DESCRIPTIONS or name in own.descriptions)


def _sides(words: list[str], own: FilmWords) -> Iterator[Side]:
    """Each side that is named: by whole words, joined to a part, by abbreviations beside one."""
    parts = _PARTS | {fold(word) for word in own.body_parts}
    whole: Mapping[str, Side] = dict(_WHOLE) | {fold(word): side for word, side in own.sides.items()}
    before: list[Side] = []  # abbreviations since the last other word: their part may follow
    is_beside = False  # a part, or an abbreviation beside one, stands directly before
    at = 0
    while at < len(words):
        length, word = _phrase(words, at, parts | _SIDED_POSITIONS | whole.keys())
        at += length
        if word in whole:
            yield whole[word]
        elif word in parts:
            yield from before
            is_beside = True
        elif joined := _joined(word, parts):
            yield joined
            is_beside = True
        elif word in SHORT_SIDES:
            side, may_lead = SHORT_SIDES[word]
            if is_beside:
                yield side
            elif may_lead:
                before.append(side)
            continue
        else:
            is_beside = False
        before = []


def _phrase(words: list[str], at: int, known: frozenset[str] | set[str]) -> tuple[int, str]:
    """The longest known phrase that begins here, or the word itself."""
    for length in range(min(LONGEST, len(words) - at), 0, -1):
        phrase = " ".join(words[at : at + length])
        if phrase in known:
            return length, phrase
    return 1, words[at]


def _joined(word: str, parts: frozenset[str]) -> Side | None:
    """The side in LHIP or HIPLT."""
    for short, side in SIDES.items():
        rests = word.removeprefix(short), word.removesuffix(short)
        if any(rest != word and len(rest) >= SHORTEST and rest in parts for rest in rests):
            return side
    return None
