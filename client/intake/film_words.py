"""What a film shows, from its words: body part, position, view of the schema, or why none.

A film says it in Body Part Examined and View Position, in codes, or in a description; by the words of
``film_vocabulary``, of the schema and of the hospital's profile, in this order of attributes. Only what
describes the film or its series tells a position: a study's description names several films. Pure;
imports the vocabulary, the profile's and the schema's settings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from client.intake.film_vocabulary import (
    BODY_PARTS,
    CODES,
    ONLY_AS_POSITION,
    POSITIONS,
    SAYS_NOTHING,
    SCHEMES,
    SIDES,
    WIDER,
)
from client.site.profile import FilmWords
from shared.exam.schema import ViewRule

UNKNOWN_WORDS = "intake.unknown-words"
DERIVED_FILM = "intake.derived-film"
WRONG_VIEW = "intake.wrong-view"

# Attributes whose values are chosen from a list (CS); the others are typed by people.
CODED = ("BodyPartExamined", "ViewPosition", "ImageType", "PatientOrientation")
SEQUENCES = ("AnatomicRegionSequence", "ViewCodeSequence")
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription")
_PART_ATTRIBUTES = ("BodyPartExamined", "AnatomicRegionSequence", *DESCRIPTIONS)
_POSITION_ATTRIBUTES = ("ViewPosition", "ViewCodeSequence", "SeriesDescription", "ProtocolName")

_ORIENTATION = "PatientOrientation"
_FRONTAL = {"AP", "PA", "FRONTAL"}

_UMLAUTS = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "ẞ": "SS", "Ø": "O", "Å": "A", "Æ": "AE"})
_AP_OR_PA = re.compile(r"\b(?:(A)[.\-/ ]+(P)|(P)[.\-/ ]+(A))\b")
_INITIALS = re.compile(r"\b([A-Z])\.([A-Z])\b")
LETTERS = re.compile(r"[A-Z0-9]+")
LONGEST = 3  # words of a phrase
SHORTEST = 3  # letters of a part that a side is joined to


@dataclass(frozen=True)
class Word:
    """One thing that a film says: where, in what words, and the terms that these were read as."""

    attribute: str
    text: str
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a film shows: terms of DICOM, empty where it does not say.

    ``view``: the schema's view that the profile names for its words; ``is_unknown``: it says something
    that nobody here knows, several positions, or no body part at all; ``is_from_side``: its rows or
    columns run to the patient's front or back; ``words``: what was looked at.
    """

    part: str
    position: str
    view: str
    is_unknown: bool
    is_derived: bool
    is_from_side: bool
    words: tuple[Word, ...]


def fold(text: str) -> str:
    """Capitals without accents and signs, single spaces; A.P. and a-p become AP, Ü becomes UE."""
    return " ".join(LETTERS.findall(without_accents(text)))


def without_accents(text: str) -> str:
    """Capitals without accents, signs as they stand, initials joined."""
    upper = unicodedata.normalize("NFC", text).upper().translate(_UMLAUTS)
    plain = unicodedata.normalize("NFKD", upper).encode("ascii", "ignore").decode()
    return _INITIALS.sub(r"\1\2", _AP_OR_PA.sub(r"\1\2\3\4", plain.replace("_", " ")))


def part_of(word: str) -> str:
    """The body part that a whole word means; an unknown word means itself."""
    return _PARTS.get(fold(word), fold(word))


def named_part(text: str) -> str:
    """The body part that a text names, empty where nobody here knows one in it."""
    known = _Lexicon(_PARTS, _POSITIONS)
    return _first({"": _known_words("BodyPartExamined", text, known)}, ("",), _PARTS)[0]


def position_of(word: str) -> str:
    """The view position that a whole word means; an unknown word means itself."""
    return _POSITIONS.get(fold(word), fold(word))


def understand(words: Mapping[str, str], own: FilmWords, views: Sequence[ViewRule]) -> Shown:
    """What a film shows.

    Args:
        words: texts by DICOM keyword, of ``CODED``, ``DESCRIPTIONS`` and ``SEQUENCES`` (there "scheme
            code"); an attribute that is absent is an empty text.
        own: the hospital's words, which win over all others.
        views: the schema's, whose words are known too.
    """
    known = _lexicon(own, views)
    texts = dict.fromkeys(("BodyPartExamined", "ViewPosition"), "") | dict(words)
    unread = set(DESCRIPTIONS) - set(own.descriptions)
    read = {name: text for name, text in texts.items() if name not in unread}
    found = {name: _known_words(name, text, known) for name, text in read.items()}
    named = {fold(word): name for word, name in own.views.items()}
    view = next((named[fold(text)] for text in read.values() if fold(text) in named), "")
    part, of_part = _first(found, _PART_ATTRIBUTES, known.parts)
    position, of_position = _first(found, _POSITION_ATTRIBUTES, known.positions)
    if fold(texts["BodyPartExamined"]) in SAYS_NOTHING:
        part = part or known.parts.get("", "")
    several = any(_is_torn(found[name], known.positions) for name in of_position)
    position = "" if several else position
    is_silent = not several and _says_no_position(texts)
    if is_silent:
        position = position or known.positions.get("", "")
    image_type = texts.get("ImageType", "")
    is_from_side = seen_from_side(texts)
    is_derived = image_type.split("\\")[0].strip().upper() == "DERIVED"
    looked_at = dict.fromkeys([*of_part, *of_position])
    return Shown(
        part=part,
        position=position,
        view=view,
        is_unknown=not part or not (position or is_silent),
        is_derived=is_derived,
        is_from_side=is_from_side,
        words=(
            *(_seen(name, texts[name], found[name], known) for name in looked_at),
            *([Word("ImageType", image_type, ("DERIVED",))] if is_derived else []),
            *([Word(_ORIENTATION, texts[_ORIENTATION], ("LATERAL",))] if is_from_side else []),
        ),
    )


def seen_from_side(words: Mapping[str, str]) -> bool:
    """Whether Patient Orientation runs to front or back along a side of the film, and up or down
    along the other (PS3.3 C.7.6.1.1.1): a frontal film runs from side to side."""
    first = {direction.strip()[:1] for direction in words.get(_ORIENTATION, "").split("\\")}
    return bool(first & {"A", "P"} and first & {"H", "F"})


def _says_no_position(texts: Mapping[str, str]) -> bool:
    return fold(texts["ViewPosition"]) in SAYS_NOTHING and not texts.get("ViewCodeSequence")


def _is_torn(words: Sequence[str], terms: Mapping[str, str]) -> bool:
    """Whether words mean things that contradict each other."""
    meant = {terms[word] for word in words if word in terms}
    return bool(meant) and not _narrowest(meant)


def find_view(shown: Shown, views: Sequence[ViewRule]) -> str | None:
    """The first view that a film belongs to, or the one that the profile names."""
    allowed = [view for view in views if view.allows_derived or not shown.is_derived]
    if shown.view:
        return next((view.name for view in allowed if view.name == shown.view), None)
    if shown.is_unknown:
        return None
    return next((view.name for view in allowed if _shows(view, shown)), None)


def why_none(shown: Shown, views: Sequence[ViewRule]) -> str:
    """The code of a film that belongs to no view."""
    if shown.is_derived and find_view(replace(shown, is_derived=False), views):
        return DERIVED_FILM
    return UNKNOWN_WORDS if shown.is_unknown and not shown.view else WRONG_VIEW


def _shows(view: ViewRule, shown: Shown) -> bool:
    if shown.part not in {part_of(word) for word in view.body_parts}:
        return False
    positions = {position_of(word) for word in view.positions}
    if shown.is_from_side and positions <= _FRONTAL:
        return False
    if {shown.position, WIDER.get(shown.position)} & positions:
        return True
    # "frontal" says less than AP: it is taken where a film that says nothing would be
    is_vague = not shown.position or shown.position in {WIDER.get(each) for each in positions}
    return view.allows_empty_position and is_vague


@dataclass(frozen=True)
class _Lexicon:
    """Words, folded, and the terms they mean."""

    parts: Mapping[str, str]
    positions: Mapping[str, str]

    def term(self, word: str) -> str:
        return self.parts.get(word) or self.positions.get(word, "")

    def knows(self, word: str) -> bool:
        return bool(word and self.term(word))


def _lexicon(own: FilmWords, views: Sequence[ViewRule]) -> _Lexicon:
    """The built-in words, those of the schema, those of the hospital: the later ones win."""
    parts = _PARTS | {fold(word): part_of(word) for view in views for word in view.body_parts}
    positions = _POSITIONS | {
        fold(word): position_of(word) for view in views for word in view.positions
    }
    return _Lexicon(
        parts | {fold(word): part_of(term) for word, term in own.body_parts.items()},
        positions | {fold(word): position_of(term) for word, term in own.positions.items()},
    )


def _first(
    found: Mapping[str, Sequence[str]], attributes: Sequence[str], terms: Mapping[str, str]
) -> tuple[str, list[str]]:
    """What the first attribute means that means something, and which were looked at until then."""
    looked_at: list[str] = []
    for attribute in attributes:
        if attribute in found:
            looked_at.append(attribute)
            meant = _narrowest({terms[word] for word in found[attribute] if word in terms})
            if meant:
                return meant, looked_at
    return "", looked_at


def _known_words(attribute: str, text: str, known: _Lexicon) -> list[str]:
    """Words of a text that mean something; of a code its term, which is a word too."""
    if attribute in SEQUENCES:
        scheme, _, code = text.partition(" ")
        return [CODES[code]] if scheme in SCHEMES and code in CODES else []
    folded = fold(text)
    if folded in SAYS_NOTHING:
        return []
    found = [folded] if known.knows(folded) else list(_phrases(folded.split(), known))
    return [word for word in found if attribute in CODED or word not in ONLY_AS_POSITION]


def _phrases(words: Sequence[str], known: _Lexicon) -> Iterator[str]:
    """Known phrases in a text, the longest first, and parts that a side is joined to."""
    at = 0
    while at < len(words):
        for length in range(min(LONGEST, len(words) - at), 0, -1):
            phrase = " ".join(words[at : at + length])
            word = phrase if known.knows(phrase) else _without_side(phrase, known.parts)
            if word:
                yield word
                break
        else:
            length = 1
        at += length


def _without_side(word: str, parts: Mapping[str, str]) -> str:
    """The part in LHIP or HIPLT, empty if there is none."""
    rests = [word.removeprefix(side) for side in SIDES] + [word.removesuffix(side) for side in SIDES]
    return next((rest for rest in rests if len(rest) >= SHORTEST and rest in parts), "")


def _narrowest(terms: set[str]) -> str:
    """The one thing that several terms mean; empty where they contradict each other."""
    meant = terms - {WIDER[term] for term in terms if term in WIDER}
    if len(meant) > 1 and not meant & {"AP", "PA", "FRONTAL"} and meant <= POSITIONS.keys():
        return "LATERAL" if "LATERAL" in meant else min(meant)
    return meant.pop() if len(meant) == 1 else ""


def _seen(attribute: str, text: str, found: Sequence[str], known: _Lexicon) -> Word:
    """Of a description only its known words, if it has any: the rest could name somebody."""
    terms = tuple(dict.fromkeys(known.term(word) for word in found))
    is_free_text = attribute in DESCRIPTIONS and bool(found)
    return Word(attribute, " … ".join(dict.fromkeys(found)) if is_free_text else text, terms)


def words_of(table: Mapping[str, str]) -> dict[str, str]:
    """Each word of a table of the vocabulary, its terms too, with the term it means."""
    return {word: term for term, words in table.items() for word in (term, *words.split(", "))}


_PARTS: dict[str, str] = words_of(BODY_PARTS)
_POSITIONS: dict[str, str] = words_of(POSITIONS)
