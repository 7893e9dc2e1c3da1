"""What was not used, in three groups: unread, to be corrected, left out; each input in one of them."""

from __future__ import annotations

from client.cohort.quarantine import CODES, Quarantined
from client.cohort_page.quarantine import CANNOT_READ, group_quarantine


class Places:
    """A linkage that knows every item but one."""

    def place_of(self, item: str) -> str | None:
        return None if item == "forgotten" else f"films/{item}"


def groups(entries: list[Quarantined]) -> list:
    return group_quarantine(entries, Places())  # type: ignore[arg-type]


def test_every_code_falls_into_one_group_by_what_it_means() -> None:
    found = groups([Quarantined("film", code, code) for code in CODES])
    codes = [{row.code for row in group.rows} for group in found]
    assert codes[0] == CANNOT_READ
    assert codes[1] == {c for c, reason in CODES.items() if reason.is_loss} - CANNOT_READ
    assert codes[2] == set(CODES) - codes[0] - codes[1]
    assert [group.n for group in found] == [len(each) for each in codes]
    assert found[0].title == "Could not be read"


def test_a_reason_is_counted_with_its_fields_and_a_few_examples_the_commonest_first() -> None:
    bad = [
        *(Quarantined("value", "intake.out-of-range", f"r{n}", "height") for n in range(4)),
        Quarantined("value", "intake.out-of-range", "r4", "weight"),
        Quarantined("film", "intake.blank-film", "forgotten"),
    ]
    rows = groups(bad)[1].rows
    assert [(row.code, row.n) for row in rows] == [
        ("intake.out-of-range", 5),
        ("intake.blank-film", 1),
    ]
    assert rows[0].fields == "height (4), weight (1)"
    assert rows[0].examples == ("films/r0", "films/r1", "films/r2")
    assert rows[1].examples == ()
    assert rows[0].remedy == CODES["intake.out-of-range"].remedy


def test_films_that_cost_their_patient_stand_apart_from_others_of_their_code() -> None:
    films = [Quarantined("film", "intake.wrong-view", f"f{n}", costs_patient=n < 2) for n in range(5)]
    found = groups(films)
    assert [group.n for group in found] == [0, 2, 3]
    assert found[1].rows[0].meaning.endswith("the patient has no other film, and is lost")
    assert found[2].rows[0].meaning == CODES["intake.wrong-view"].meaning


def test_one_place_is_named_once() -> None:
    twice = [Quarantined("value", "intake.out-of-range", "r1", field) for field in ("a", "b")]
    [row] = groups(twice)[1].rows
    assert (row.n, row.examples) == (2, ("films/r1",))


def test_nothing_lost_is_three_empty_groups() -> None:
    assert [group.n for group in groups([])] == [0, 0, 0]
