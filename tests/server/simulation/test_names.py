"""Names of simulated hospitals, made of values in any script."""

from __future__ import annotations

import pytest

from server.simulation.names import name_problems, site_name, site_names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("North Hall", "north-hall"),
        (" St. Mary's ", "st-mary-s"),
        ("12", "site-12"),
        ("x", "site-x"),
        ("É", "site-e"),
        ("Süd", "sud"),
        ("S D", "s-d"),
        ("Gießen", "giessen"),
        ("Łódź", "lodz"),
        ("Tromsø", "tromso"),
        ("Næstved", "naestved"),
        ("北", ""),
        ("—", ""),
        ("w" * 60, "w" * 41),
        ("w" * 40 + " v", "w" * 40),
    ],
)
def test_a_name_is_made_of_a_value(value: str, name: str) -> None:
    assert site_name(value) == name


def test_values_without_a_name_are_numbered_whatever_their_order() -> None:
    names = {"Süd": "sud", "北": "site-2", "南": "site-3"}
    assert site_names(["北", "南", "Süd"]) == names
    assert site_names(["南", "Süd", "北"]) == names


@pytest.mark.parametrize(
    ("named", "made", "problems"),
    [
        (["ash", "elm"], [("oak", "clinic Oak")], []),
        (
            ["a"],
            [],
            [
                "  a: a hospital's name must be 2 to 41 lower-case letters, digits and dashes; "
                "did you mean site-a?"
            ],
        ),
        (["北"], [], ["  北: a hospital's name must be 2 to 41 lower-case letters, digits and dashes"]),
        (["pooled"], [], ["  pooled: a hospital cannot be called so, results are"]),
        (["ash", "ash"], [], ["  ash: 2 hospitals have this name; each needs its own"]),
        (
            ["ash"],
            [("ash", "clinic Ash"), ("ash", "clinic ASH")],
            ["  ash: 3 hospitals have this name (clinic Ash, clinic ASH); each needs its own"],
        ),
    ],
)
def test_a_name_that_no_hospital_can_have_is_told(
    named: list[str], made: list[tuple[str, str]], problems: list[str]
) -> None:
    assert name_problems(named, made) == problems
