"""The tree of errors: what is shown, what survives a process border, which code may leave."""

from __future__ import annotations

import pickle

import pytest

import shared.errors
from shared.errors import IntakeError, OsteoFedError, PlanError

KINDS = [
    kind
    for kind in vars(shared.errors).values()
    if isinstance(kind, type) and issubclass(kind, OsteoFedError) and kind is not OsteoFedError
]


def test_a_code_is_area_and_reason_and_the_hint_has_its_own_line() -> None:
    error = PlanError("changed", "plan.json differs", hint="fetch it again")
    assert error.code == "plan.changed"
    assert str(error) == "plan.json differs\n\nhint: fetch it again"
    assert str(IntakeError("blank-film", "empty")) == "empty"


def test_no_two_kinds_share_an_area() -> None:
    areas = [kind.area for kind in KINDS]
    assert len(KINDS) == 11
    assert len(set(areas)) == len(areas)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_a_worker_process_keeps_code_fact_and_hint(kind: type[OsteoFedError]) -> None:
    error = kind("some-reason", "a fact", hint="a hint")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.code, again.fact, again.hint) == (error.code, "a fact", "a hint")
