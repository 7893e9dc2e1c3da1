"""The control of a rehearsed attack: whether it sees anything where nothing is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from practice_attack import attacked_plan

from shared.audit.attack import rehearsal
from shared.audit.attack.membership import AttackRun, AuditedSite
from shared.audit.attack.rehearsal import _judge_control
from shared.audit.attack.variations import without_privacy


@pytest.mark.parametrize(
    ("shift", "verdict"), [(3.0, "pass"), (0.0, "not-run"), (0.25, "not-run"), (-3.0, "not-run")]
)
def test_an_attack_is_serious_only_where_its_interval_lies_above_a_guess(
    shift: float, verdict: str
) -> None:
    quantiles = np.linspace(-2.0, 2.0, 20)
    is_member = np.repeat([True, False], 20)
    scores = {
        "guess": np.concatenate([quantiles, quantiles]),
        "attack": np.concatenate([quantiles + shift, quantiles]),
    }
    found = _judge_control(AttackRun(scores=scores, is_member=is_member, n_references=16))
    assert found.verdict == verdict
    assert found.figures["auc_guess"] == 0.5
    assert (float(found.figures["auc_attack"]) > 0.5) == (shift > 0)


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What was trained and attacked; every score is a guess."""
    seen: list[dict[str, object]] = []

    def train(plan: object, stage: object, sites: list[AuditedSite], members: list, file: object):
        [site], [is_member] = sites, members
        np.testing.assert_array_equal(is_member, site.is_member)
        seen.append({"plan": plan, "stage": stage, "site": site, "file": file})
        return len(seen)

    def attack(plan: object, stage: object, sites: list[AuditedSite], weights: int, **given: object):
        assert (plan, stage, sites) == (seen[-1]["plan"], seen[-1]["stage"], [seen[-1]["site"]])
        assert weights == len(seen)
        seen[-1] |= given
        n = len(sites[0].is_member)
        return AttackRun(scores={"guess": np.zeros(n)}, is_member=sites[0].is_member, n_references=16)

    monkeypatch.setattr(rehearsal, "train_release", train)
    monkeypatch.setattr(rehearsal, "attack_run", attack)
    monkeypatch.setattr(rehearsal, "draw_patients", lambda _, n, *, seed: (n, seed))
    return seen


def test_the_smallest_site_rehearses_alone_with_as_many_others_and_then_without_noise(
    attacked: list[dict[str, object]],
) -> None:
    plan = attacked_plan(2, {"aster": 50, "birch": 30, "cedar": 40}, epsilon=3.0)
    findings = rehearsal.rehearsal_findings(plan, n_references=18, seed=7, encoder_file=Path("e"))
    first, control = attacked
    for run in attacked:
        site = run["site"]
        assert site.site == "birch"
        assert site.pool == (60, 7)
        assert site.is_member.sum() == 30
        assert len(site.is_member) == 60
        assert not site.is_member[:30].all(), "drawn, and not the first half"
        assert (run["n_references"], run["seed"], run["encoder_file"]) == (18, 8, Path("e"))
        assert run["file"] == Path("e")
    assert first["stage"] == plan.training
    assert control["stage"] == without_privacy(plan.training)
    assert findings[-1].claim.startswith("The attack is serious")
    assert findings[-1].verdict == "not-run"


def test_a_plan_without_noise_is_its_own_control(attacked: list[dict[str, object]]) -> None:
    plan = attacked_plan(2, {"aster": 50}, epsilon=None)
    findings = rehearsal.rehearsal_findings(plan, n_references=16, seed=1)
    assert len(attacked) == 1
    assert not any(each.claim.startswith("The attack is serious") for each in findings)
