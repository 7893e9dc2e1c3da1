"""Which side a film names in words: LHIP, HIP LT, LINKE HÜFTE, HANCHE G.

A whole word says it anywhere in a text; an abbreviation only beside a body part, or with positions
between them, and not where a sign ties it to another word: R/O, RE-EXAM, D/C. What stands before
another part is that part's. A text that names both sides means both. Pure; imports the vocabulary,
the folding of film words, the profile's and the schema's settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from client.intake.film_vocabulary import (
    BODY_PARTS,
    ENGLISH_PARTS,
    NO_SIDES,
    NOT_ENGLISH,
    PASSING,
    POSITIONS,
    SHORT_SIDES,
    SIDES,
    UNPAIRED,
    WHOLE_SIDES,
    WIDER,
)
from client.intake.film_words import (
    DESCRIPTIONS,
    LETTERS,
    LONGEST,
    SHORTEST,
    fold,
    part_of,
    without_accents,
    words_of,
)
from client.site.profile import FilmWords
from shared.exam.schema import ViewRule

Side = Literal["L", "R", "B"]

CONFLICTING_SIDE = "intake.conflicting-side"
# Nearest to the film first. A study may hold films of both sides: it speaks where nothing else does.
_ATTRIBUTES = ("BodyPartExamined", *DESCRIPTIONS)
_OF_STUDY = "StudyDescription"
_PARTS = words_of(BODY_PARTS)
_PASSING = PASSING | words_of(POSITIONS).keys()
_WHOLE: Mapping[str, Side] = {
    word: side for side, words in WHOLE_SIDES.items() for word in words.split(", ")
}
_TIE = re.compile(r"\s*/\s*|-|:\s*")  # between two words that are one abbreviation, or a heading


def is_paired(view: ViewRule) -> bool:
    """Whether a view's films have a side: a chest, a spine or a pelvis as a whole has none."""
    return any(part_of(word) not in UNPAIRED for word in view.body_parts)


def named_side(words: Mapping[str, str], own: FilmWords, view: ViewRule) -> Side | None:
    """The side that the attribute nearest to the film names, None where none does.

    Args:
        words: texts by DICOM keyword; attributes that the hospital does not read are left out.
        own: the hospital's words, of which parts and sides count here.
        view: whose body parts' sides are looked for.
    """
    sides = (side_in(words.get(name, ""), own, view) for name in _read(own))
    return next((side for side in sides if side), None)


def contradicts(tagged: Side | None, words: Mapping[str, str], own: FilmWords, view: ViewRule) -> bool:
    """Whether the words for a film or its series name the other side than its tag."""
    near = {name: text for name, text in words.items() if name != _OF_STUDY}
    return {tagged, named_side(near, own, view)} == {"L", "R"}


def side_in(text: str, own: FilmWords, view: ViewRule) -> Side | None:
    """The side that a text names of a view's body parts; both sides are B."""
    wanted = {part_of(word) for word in view.body_parts}
    known = _Known.of(own, view)
    found = {
        side
        for side, part in _sides(known.phrases(text), known)
        if not part or {part, WIDER.get(part)} & wanted
    }
    return found.pop() if len(found) == 1 else "B" if found else None


def _read(own: FilmWords) -> Iterator[str]:
    return (name for name in _ATTRIBUTES if name not in DESCRIPTIONS or name in own.descriptions)


def _sides(phrases: Sequence[str], known: _Known) -> Iterator[tuple[Side, str]]:
    """Each side that is named, and the part that it belongs to; empty: whichever the film shows."""
    before: list[str] = []  # abbreviations since the last other word: their part may follow
    part = ""  # the word for it that stands before, with nothing but positions between
    for word, following in zip(phrases, [*phrases[1:], ""], strict=False):
        if word in _PASSING:
            continue
        if word in known.whole:
            yield known.whole[word], known.parts.get(following, "")
        elif word in known.parts:
            yield from ((SHORT_SIDES[each][0], known.parts[word]) for each in _fit(before, word))
            part = word
        elif joined := known.joined(word):
            yield joined
            part = word
        elif word in SHORT_SIDES:
            side, may_lead = SHORT_SIDES[word]
            if following in known.parts or not part:
                before += [word] * may_lead
            elif _fit([word], part):
                yield side, known.parts.get(part, "")
            continue
        else:
            part = ""
        before = []


def _fit(abbreviations: Sequence[str], part: str) -> list[str]:
    """Those that name a side in the language of a part."""
    return [each for each in abbreviations if each not in NOT_ENGLISH or part not in ENGLISH_PARTS]


@dataclass(frozen=True)
class _Known:
    """Words, folded: the parts and the sides that they mean."""

    parts: Mapping[str, str]
    whole: Mapping[str, Side]

    @staticmethod
    def of(own: FilmWords, view: ViewRule) -> _Known:
        return _Known(
            _PARTS
            | {fold(word): part_of(word) for word in view.body_parts}
            | {fold(word): part_of(term) for word, term in own.body_parts.items() if word},
            dict(_WHOLE) | {fold(word): side for word, side in own.sides.items()},
        )

    def phrases(self, text: str) -> list[str]:
        """The longest known phrases of a text, in order; an abbreviation tied to a stranger is none."""
        plain = without_accents(text)
        found = list(LETTERS.finditer(plain))
        words = [each.group() for each in found]
        gaps = [plain[one.end() : other.start()] for one, other in pairwise(found)]
        spans: list[tuple[int, int]] = []
        while (at := spans[-1][1] if spans else 0) < len(words):
            spans.append((at, at + self._length(words, at)))
        phrases = [" ".join(words[first:last]) for first, last in spans]
        is_tied = [bool(_TIE.fullmatch(gaps[first - 1])) for first, _ in spans[1:]]
        is_strange = [not self._knows(phrase) for phrase in phrases]
        return [
            ""
            if phrase in SHORT_SIDES
            and (
                (place > 0 and is_tied[place - 1] and is_strange[place - 1])
                or (place < len(is_tied) and is_tied[place] and is_strange[place + 1])
            )
            else phrase
            for place, phrase in enumerate(phrases)
        ]

    def joined(self, word: str) -> tuple[Side, str] | None:
        """The side in LHIP or HIPLT, and the part."""
        for short, side in SIDES.items():
            for rest in (word.removeprefix(short), word.removesuffix(short)):
                if rest != word and len(rest) >= SHORTEST and rest in self.parts:
                    return side, self.parts[rest]
        return None

    def _length(self, words: Sequence[str], at: int) -> int:
        """How many words the longest known phrase has that begins here; 1 where there is none."""
        most = min(LONGEST, len(words) - at)
        phrases = {n: " ".join(words[at : at + n]) for n in range(most, 1, -1)}
        return next((n for n, each in phrases.items() if self._knows(each) or each in NO_SIDES), 1)

    def _knows(self, phrase: str) -> bool:
        is_word = phrase in self.parts or phrase in self.whole or phrase in _PASSING
        return is_word or phrase in SHORT_SIDES or self.joined(phrase) is not None
