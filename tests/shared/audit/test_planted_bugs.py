"""Planted bugs make a test fail and are refuted by the audit; correct runs pass.

The whole table is measured by ``make planted-bugs``; here bugs of each family are planted anew, and the
measured page is held to the table. More are planted in ``attack/test_answers.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from audited_run import found_audited, play, recount_whole
from bug_table import CORRECT, DATA, METHODS, failing_test, found_sampled
from planted import BUGS, MOVES, REUSE, ROUNDS, Family
from table_site import TableSites


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    return found_sampled(tmp_path_factory.mktemp("sampled"))


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    """The measured table."""
    return {row["bug"]: row for row in json.loads(DATA.read_text())["rows"]}


def test_the_table_was_measured_of_every_bug_there_is(rows: dict[str, dict[str, Any]]) -> None:
    assert list(rows) == [CORRECT, *BUGS]
    assert len(BUGS) >= 20
    assert {bug.family for bug in BUGS.values()} == set(get_args(Family))


@pytest.mark.parametrize("bug", BUGS)
def test_a_test_fails_with_the_bug_and_the_audit_refutes_what_it_must(
    bug: str, rows: dict[str, dict[str, Any]]
) -> None:
    row, claims = rows[bug], [claim for method in METHODS for claim in rows[bug][method]]
    assert row["test"].startswith(BUGS[bug].test)
    for begun in BUGS[bug].refutes:
        assert any(claim.startswith(begun) for claim in claims), (begun, claims)
    assert BUGS[bug].refutes, "a bug that the audit cannot see must be named in its report"


def test_a_correct_run_is_refuted_by_nothing_and_its_bound_is_below_the_claim(
    rows: dict[str, dict[str, Any]],
) -> None:
    row = rows[CORRECT]
    assert [row[method] for method in METHODS] == [[], [], []]
    assert 0 < max(row["epsilon_steinke"], row["epsilon_fdp"]) < 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "begun"),
    [("noise from a seed", REUSE), ("full batch booked as sampled", MOVES)],
)
def test_a_bug_of_a_run_is_found_in_its_register(
    bug: str, begun: str, sampled: TableSites, tmp_path: Path
) -> None:
    found = play(sampled, tmp_path / "site", bug=bug, tries_code=False)
    assert any(claim.startswith(begun) for claim in found.refuted("conformance"))


@pytest.mark.slow
def test_a_total_that_was_added_twice_is_found_in_the_run_folder(tmp_path: Path) -> None:
    found, _ = recount_whole(tmp_path / "run", bug="a site's total added twice")
    refuted = {each.claim for each in found if each.verdict == "fail"}
    assert any(claim.startswith(ROUNDS) for claim in refuted)


@pytest.mark.slow
def test_tests_are_asked_with_the_bug_in_their_path() -> None:
    assert failing_test("noise times 0.8").startswith(BUGS["noise times 0.8"].test)


@pytest.mark.slow
def test_a_correct_sampled_run_is_not_blamed(sampled: TableSites, tmp_path: Path) -> None:
    found = play(sampled, tmp_path / "site")
    assert {finding.verdict for finding in (*found.conformance, *found.canary)} == {"pass"}
    assert 0 < found.bound < 8


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "canaries"), [(1.0, 1000), (3.0, 1000), (8.0, 2000)])
def test_twenty_correct_runs_of_twenty_pass(epsilon: float, canaries: int, tmp_path: Path) -> None:
    made = found_audited(
        tmp_path / "made", epsilon=epsilon, canaries=canaries, sample_rate=1.0, local_steps=5
    )
    bounds = []
    for seed in range(20):
        found = play(made, tmp_path / str(seed), tries_code=False)
        assert found.refuted("conformance") == []
        assert {finding.verdict for finding in found.canary} == {"pass"}
        bounds.append(found.bound)
    # The canaries see something: a bound of 0 in every run would pass any claim.
    assert epsilon == 1.0 or max(bounds) > epsilon / 10
