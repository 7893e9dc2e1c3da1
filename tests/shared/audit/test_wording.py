"""Verdicts in words: an attack that fails proves nothing."""

from __future__ import annotations

import pytest

from shared.audit.wording import MEANING, METHODS, write_figure, write_name, write_scope, write_verdict


@pytest.mark.parametrize(
    ("verdict", "method", "word"),
    [
        ("pass", "recount", "holds"),
        ("pass", "inversion", "holds"),
        ("pass", "conformance", "not refuted"),
        ("pass", "canary", "not refuted"),
        ("pass", "membership", "not refuted"),
        ("fail", "membership", "refuted"),
        ("fail", "recount", "refuted"),
        ("not-run", "canary", "not examined"),
    ],
)
def test_only_what_was_recomputed_holds(verdict: str, method: str, word: str) -> None:
    assert write_verdict(verdict, method) == word


def test_an_audit_is_partial_until_every_method_was_used() -> None:
    assert write_scope([]) == "every method was used"
    assert write_scope(["canary", "recount"]) == "partial: not used: canary, recount"
    assert set(MEANING) == set(METHODS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.123456, "0.1235"),
        (-1.5e-7, "−1.5e−07"),
        (12, "12"),
        ("a" * 64, "a" * 16 + "…"),
        ("a" * 63, "a" * 63),
    ],
)
def test_figures_are_short(value: float | int | str | None, text: str) -> None:
    assert write_figure(value) == text
    assert write_name("epsilon_lower_bound") == "epsilon lower bound"
