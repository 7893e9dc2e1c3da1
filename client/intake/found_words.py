"""The words that films said about themselves, how often, and what they were read as: for the site.

A word that nobody here knows is what a hospital maps in its profile. Typed text may name a patient, so
of a description only known words are kept, or a text that stands in films of ten patients. The list of
the latest intake lies beside a cohort's versions and never leaves. Imports the words of a film.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from client.intake.film_words import CODED, Word
from shared.errors import IntakeError
from shared.machine.files import write_atomic

WORDS_FILE = "film-words.json"
FEWEST_PATIENTS = 10
OTHERS = "other descriptions"


@dataclass(frozen=True, kw_only=True)
class FoundWord:
    """One word: in which attribute, read as which terms (none: nobody knows it), in how many films.

    ``n_taken``: films that show a view of the schema.
    """

    attribute: str
    text: str
    terms: tuple[str, ...]
    n_films: int
    n_taken: int


class WordTally:
    """Counts words film by film."""

    def __init__(self) -> None:
        self._films: Counter[Word] = Counter()
        self._taken: Counter[Word] = Counter()
        self._patients: dict[Word, set[str]] = defaultdict(set)

    def add(self, words: Sequence[Word], patient_id: str, *, is_taken: bool) -> None:
        """Count the words of one film."""
        for word in words:
            self._films[word] += 1
            self._taken[word] += is_taken
            if len(self._patients[word]) < FEWEST_PATIENTS:
                self._patients[word].add(patient_id)

    def found(self) -> tuple[FoundWord, ...]:
        """The words that may be shown, by attribute, the commonest first; all others as one."""
        films: Counter[Word] = Counter()
        taken: Counter[Word] = Counter()
        for word, n_films in self._films.items():
            shown = word if self._is_harmless(word) else Word(word.attribute, OTHERS)
            films[shown] += n_films
            taken[shown] += self._taken[word]
        listed = sorted(films.items(), key=lambda item: (item[0].attribute, -item[1], item[0].text))
        return tuple(
            FoundWord(
                attribute=word.attribute,
                text=word.text,
                terms=word.terms,
                n_films=n_films,
                n_taken=taken[word],
            )
            for word, n_films in listed
        )

    def _is_harmless(self, word: Word) -> bool:
        is_common = len(self._patients[word]) >= FEWEST_PATIENTS
        return bool(word.terms) or word.attribute in CODED or is_common


def keep_words(folder: Path, found: Sequence[FoundWord]) -> None:
    """Keep the words of the latest intake in a cohort's folder, also where it is refused."""
    lines = {"version": 1, "words": [asdict(word) for word in found]}
    write_atomic(folder / WORDS_FILE, json.dumps(lines, indent=1).encode(), mode=0o600)


def read_words(folder: Path) -> tuple[FoundWord, ...]:
    """The words of the latest intake, none where it read no films.

    Raises:
        IntakeError: the list is damaged.
    """
    path = folder / WORDS_FILE
    if not path.exists():
        return ()
    try:
        lines = json.loads(path.read_bytes())["words"]
        return tuple(FoundWord(**line | {"terms": tuple(line["terms"])}) for line in lines)
    except (ValueError, TypeError, KeyError) as error:
        raise IntakeError(
            "damaged-words",
            f"{WORDS_FILE} cannot be read: {type(error).__name__}",
            hint="delete it; the next intake writes what it finds",
        ) from None
