"""The table of words: each means one thing, as it is looked up; codes are those of the standard."""

from __future__ import annotations

from collections import Counter

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from client.intake.film_vocabulary import (
    BODY_PARTS,
    CODES,
    ENGLISH_PARTS,
    NO_SIDES,
    ONLY_AS_POSITION,
    PASSING,
    POSITIONS,
    SAYS_NOTHING,
    SHORT_SIDES,
    SIDES,
    UNPAIRED,
    WHOLE_SIDES,
    WIDER,
)
from client.intake.film_words import fold

WORDS = [
    word
    for table in (BODY_PARTS, POSITIONS)
    for term, words in table.items()
    for word in (term, *words.split(", "))
]
# Terms that differ from the standard's name of a code by more than spelling.
NAMED = {
    "HIP": {"Hip", "HipJoint"},
    "WRIST": {"WristJoint"}, "ELBOW": {"ElbowJoint"}, "ANKLE": {"AnkleJoint"},
    "CSPINE": {"CervicalSpine"}, "TSPINE": {"ThoracicSpine"}, "LSPINE": {"LumbarSpine"},
    "LEG": {"LowerLeg"}, "AP": {"AnteroPosterior"}, "PA": {"PosteroAnterior"},
    "LATERAL": {"LateralProjection"}, "LL": {"LeftLateral"}, "RL": {"RightLateral"},
    "AXIAL": {"AxialProjection"}, "OBLIQUE": {"ObliqueProjection"},
}  # fmt: skip


def test_no_word_means_two_things() -> None:
    assert [word for word, n in Counter(WORDS).items() if n > 1] == []
    assert not SAYS_NOTHING & set(WORDS)


def test_words_stand_as_they_are_looked_up() -> None:
    assert [word for word in WORDS if fold(word) != word or len(word.split()) > 3] == []
    assert set(WORDS) >= ONLY_AS_POSITION


def test_a_wider_term_is_a_term_of_the_same_kind() -> None:
    for term, wider in WIDER.items():
        assert any({term, wider} <= set(table) for table in (BODY_PARTS, POSITIONS)), term


def test_words_for_sides_stand_as_they_are_looked_up() -> None:
    whole = [word for words in WHOLE_SIDES.values() for word in words.split(", ")]
    words = [*whole, *SHORT_SIDES, *SIDES, *PASSING, *NO_SIDES, *SAYS_NOTHING]
    assert [word for word in words if fold(word) != word] == []
    assert [word for word, n in Counter([*whole, *SHORT_SIDES]).items() if n > 1] == []
    assert set(WORDS) > ENGLISH_PARTS


def test_what_has_no_side_is_a_body_part() -> None:
    assert set(BODY_PARTS) > UNPAIRED


def test_every_code_is_one_of_the_standards_lists_under_its_own_name() -> None:
    names = {
        code: name
        for cid in (4031, 4010)
        for name in cid_concepts[cid]["SCT"]
        for code, (_, lists) in concepts["SCT"][name].items()
        if cid in lists
    }
    # Codes that the lists no longer hold: pelvis and chest until 2020, postero-anterior of SNOMED-RT.
    former = {"12921003": "PELVIS", "51185008": "CHEST", "R-10214": "PA"}
    for code, term in CODES.items():
        current = mapping["SRT"].get(code, code)
        if code in former or current in former:
            assert former.get(code, former.get(current)) == term
        else:
            allowed = {name.lower() for name in NAMED.get(term, {term})}
            assert names[current].lower() in allowed, code


@pytest.mark.parametrize("term", ["HIP", "PELVIS", "CHEST", "SPINE", "WRIST", "HAND", "SHOULDER",
                                  "HUMERUS", "ELBOW", "FEMUR", "KNEE"])  # fmt: skip
def test_each_part_has_words_of_several_languages(term: str) -> None:
    assert len(BODY_PARTS[term].split(", ")) >= 4
