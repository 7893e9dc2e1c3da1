"""Ten bugs planted in a site's real training path are found from files and code; correct runs pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from audited_run import found_audited, play
from bug_table import found_sampled
from planted import BUGS
from table_site import TableSites

from shared.audit.attack.company import CLAIM

DEVIATION = "Noise has the promised standard deviation"
MOVES = "A patient moves a sum by the clip norm"
CHANCE = "Everybody takes part by chance"
REUSE = "No step's noise was used before"
# What canaries alone refute, without knowing what to look for.
REFUTED_BY_CANARIES = {"no noise", "no clipping", "full batch booked as sampled"}

NEAR_THE_CLAIM = {"no clipping", "clipping by exam"}  # bounds of 7 to 10 where 8 is claimed
# Which claim must fall to which bug, besides any other that falls with it.
REFUTED = {
    "no noise": {DEVIATION},
    "half the noise": {DEVIATION},
    "noise times 0.8": {DEVIATION},
    "no clipping": {MOVES},
    "clipping by exam": {MOVES},
    "full batch booked as sampled": {MOVES},
    "shuffling booked as Poisson": {CHANCE},
    "noise from a seed": {REUSE},
    "twice the sample rate": {MOVES},
    "shape of the company": {CLAIM},
}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    return found_sampled(tmp_path_factory.mktemp("sampled"))


def test_all_ten_bugs_have_a_switch_and_a_verdict() -> None:
    assert BUGS.keys() == REFUTED.keys()
    assert len(BUGS) == 10


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, sampled: TableSites, tmp_path: Path) -> None:
    found = play(sampled, tmp_path / "site", bug=bug)
    refuted = found.refuted("conformance") + found.refuted("canary")
    for claim in REFUTED[bug]:
        assert any(each.startswith(claim) for each in refuted), (claim, refuted)
    assert (found.bound > 8) == (bug in REFUTED_BY_CANARIES) or bug in NEAR_THE_CLAIM


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
        found = play(made, tmp_path / str(seed))
        assert found.refuted("conformance") == []
        assert {finding.verdict for finding in found.canary} == {"pass"}
        bounds.append(found.bound)
    # The canaries see something: a bound of 0 in every run would pass any claim.
    assert epsilon == 1.0 or max(bounds) > epsilon / 10
