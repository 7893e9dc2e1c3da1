"""How films became images, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from practice_framing import WHOLE

from client.cohort.framing import FRAMINGS, count_framing, framing_in_words


def cohort_of(*films: dict[str, object]) -> SimpleNamespace:
    framed = [SimpleNamespace(framing=SimpleNamespace(**vars(WHOLE) | changes)) for changes in films]
    return SimpleNamespace(exams=[SimpleNamespace(films=framed[:1]), SimpleNamespace(films=framed[1:])])


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("scale_found", {"is_scale_found": True}),
        ("inverted", {"changes": ("inverted",)}),
        ("dark_bones", {"is_inverted": True}),
        ("turned", {"changes": ("turned",)}),
        ("flipped", {"changes": ("flipped",)}),
        ("bordered", {"exposed": 0.99}),
        ("window_cut", {"window_exposed": 0.8}),
    ],
)
def test_each_name_counts_the_films_that_it_is_true_of_and_no_others(name, film):
    counted = count_framing(cohort_of(film, {}, film))
    assert counted.pop(name) == 2
    assert set(counted.values()) == {0}


def test_one_film_may_be_counted_under_several_names_and_all_are_told_in_words():
    cohort = cohort_of({"changes": ("turned", "flipped"), "exposed": 0.5}, {})
    assert [name for name, n in count_framing(cohort).items() if n] == ["turned", "flipped", "bordered"]
    assert list(framing_in_words(cohort).values()) == list(count_framing(cohort).values())
    assert len(framing_in_words(cohort)) == len(FRAMINGS)


def test_a_cohort_without_films_has_no_counts():
    assert count_framing(cohort_of()) == {}
