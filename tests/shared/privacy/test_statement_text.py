"""The page beside a statement: every figure with what it is of, and every silence in words."""

from __future__ import annotations

from practice_statement import HASH, cost, predicate

from shared.privacy.statement import CAVEATS, NO_GUARANTEE
from shared.privacy.statement_text import statement_text, write_epsilon


def test_the_page_says_every_epsilon_with_what_it_is_of() -> None:
    text = statement_text(predicate())
    assert text.startswith("PRIVACY STATEMENT of site north, run spring\nIssued 2026-01-02 03:04.")
    flat = " ".join(text.split())
    assert "training epsilon 2.900 (planned before the first touch: epsilon 3.000)" in flat
    assert "whole run epsilon 2.950, the dearest patient, validation included" in flat
    assert "lifetime epsilon 4.500 at delta 1e-05, all runs; cap 8 at delta 1e-05" in flat
    assert "train, dp 2 messages, epsilon 0.400 for one alone" in flat
    assert "evaluate.internal, dp 1 message, epsilon 2.000 for one alone" in flat
    assert "noise multiplier 9.6" in flat
    assert "50 in 10 rounds" in flat
    assert "countersigned no head yet" in flat
    assert "governed by nobody: no governed release" in flat
    assert f"code {HASH}, as the plan was written for" in flat
    assert "Audits so far - none is stated here" in flat
    for caveat in CAVEATS:
        assert " ".join(caveat.split()) in flat
    assert max(len(line) for line in text.splitlines()) <= 98


def test_the_page_of_a_run_without_noise_says_so() -> None:
    made = predicate().mechanism
    bare = predicate(
        guarantee=NO_GUARANTEE,
        cost=cost(n_unprotected=10, training_epsilon=None),
        mechanism=made.model_copy(update={"noise_multipliers": (0.0,)}),
    )
    flat = " ".join(statement_text(bare).split())
    assert f"training {NO_GUARANTEE}" in flat
    assert "noise multiplier none" in flat
    assert "without noise 10 charges in this run, 0 in all runs" in flat
    assert write_epsilon(0.0) == "epsilon 0.000"


def test_other_code_than_the_plans_and_a_site_that_did_not_train_are_said() -> None:
    software = predicate().software.model_copy(update={"code_sha256": "b" * 64})
    flat = " ".join(statement_text(predicate(software=software)).split())
    assert "NOT as the plan was written for" in flat
    outside = " ".join(statement_text(predicate(role="external", mechanism=None)).split())
    assert "mechanism no part in training" in outside
    assert "planned before" not in outside
