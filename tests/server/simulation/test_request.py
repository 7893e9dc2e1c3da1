"""Typed words: which are settings, which are hospitals, which is the table to be split."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.simulation.request import is_setting, pairs_of, request_of, values_of


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("privacy=off", True),
        ("privacy.epsilon=1", True),
        ("seed=4", True),
        ("measure=[errors]", True),
        ("north=a.csv", False),
        ("north=privacy.csv", False),
        ("one.csv", False),
    ],
)
def test_a_setting_is_told_by_its_key(word: str, *, expected: bool) -> None:
    assert is_setting(word) is expected


def test_words_in_any_order_become_one_request() -> None:
    words = ["north=a.csv", "privacy=off", "south=b.csv"]
    request, problems = request_of(words, external=["east=c.csv"], cohort="c.yaml", repeats=3)
    assert problems == []
    assert request.training == (("north", Path("a.csv")), ("south", Path("b.csv")))
    assert request.external == (("east", Path("c.csv")),)
    assert (request.overrides, request.repeats, request.cohort) == (("privacy=off",), 3, "c.yaml")


def test_a_table_is_split_by_a_column_and_a_value_of_it_may_be_external() -> None:
    request, problems = request_of(
        ["all.csv", "far=d.csv"], external=["West", "east=c.csv"], split_by="clinic"
    )
    assert problems == []
    assert (request.split_table, request.split_by) == (Path("all.csv"), "clinic")
    assert request.split_external == ("West",)
    assert request.training == (("far", Path("d.csv")),)


@pytest.mark.parametrize(
    ("words", "external", "split_by", "expected"),
    [
        (["all.csv"], [], None, "all.csv: must be SITE=FILE"),
        (["a=a.csv"], [], "clinic", "must have one table beside it, not 0"),
        (["a.csv", "b.csv"], [], "clinic", "must have one table beside it, not 2"),
        (["a=a.csv"], ["East"], None, "--external East: must be SITE=FILE"),
    ],
)
def test_words_that_do_not_belong_together_are_told(
    words: list[str], external: list[str], split_by: str | None, expected: str
) -> None:
    _, problems = request_of(words, external=external, split_by=split_by)
    assert len(problems) == 1
    assert expected in problems[0]


def test_a_misspelt_setting_is_not_taken_for_a_hospital() -> None:
    request, problems = request_of(["north=a.csv", "privcy=off", "schedul=few_messages"])
    assert problems == [
        "privcy=off: is no setting and no hospital's file; did you mean privacy?",
        "schedul=few_messages: is no setting and no hospital's file; did you mean schedule?",
    ]
    assert request.training == (("north", Path("a.csv")),)


def test_a_hospital_may_be_called_nearly_like_a_setting(tmp_path: Path) -> None:
    words = ["fusionn=films.csv", f"tasks={tmp_path}"]
    request, problems = request_of(words)
    assert problems == []
    assert [name for name, _ in request.training] == ["fusionn", "tasks"]


def test_hospitals_keep_their_order_and_one_may_be_named_twice() -> None:
    assert pairs_of({"b": "b.csv", "a": "a.csv"}) == (("b", Path("b.csv")), ("a", Path("a.csv")))
    assert len(pairs_of([("a", "x.csv"), ("a", "y.csv")])) == 2
    assert (pairs_of(["East"]), values_of(["East"]), values_of({"a": "a.csv"})) == ((), ("East",), ())
