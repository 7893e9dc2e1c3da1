"""Trying by force whether the installed code lets a patient move a sum by one row only."""

from __future__ import annotations

import pytest
import torch
from planted import planted
from practice_plan import plan_of

from server.federation.compose import compose_settings
from shared.audit.attack.company import CLAIM, company_findings, unequal_patients
from shared.contract.plan import Plan

FUSIONS = ("cross_attention", "concatenation", "linear")


def private(fusion: str, *overrides: str) -> Plan:
    return plan_of(compose_settings([f"fusion={fusion}", "device=cpu", *overrides]), {"north": 100})


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_code_as_it_is_is_not_blamed(fusion: str) -> None:
    [finding] = company_findings(private(fusion))
    assert (finding.claim, finding.verdict, finding.method) == (CLAIM, "pass", "conformance")
    assert finding.figures["patients_differ"] == 0
    assert 0.99 < float(finding.figures["moved_clip_norms"] or 0) <= 1.0


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("bug", ["shape of the company", "no clipping", "clipping by exam"])
def test_code_in_which_a_patient_moves_more_than_a_row_is_blamed(fusion: str, bug: str) -> None:
    with planted(bug):
        found = company_findings(private(fusion))
    # clipping by exam is planted in the steps, which this does not try: canaries find it
    assert [finding.verdict for finding in found] == ["pass" if bug == "clipping by exam" else "fail"]


def test_nothing_is_claimed_where_nothing_is_promised() -> None:
    assert company_findings(private("linear", "privacy=off")) == []
    assert company_findings(private("linear", "learner=second_moments")) == []


def test_one_patient_has_more_films_than_all_others() -> None:
    batch = unequal_patients(private("linear").settings)
    n_films = (batch.film_exam >= 0).sum(dim=1)
    assert n_films[-1] == 4
    assert torch.equal(n_films[:-1], torch.ones_like(n_films[:-1]))
