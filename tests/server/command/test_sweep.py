"""A sweep of two arms by commands: planned, approved once, cut off, gone on with, reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from late_hospital import BY, short_code
from practice_commands import Coordinator
from practice_sweep import (
    NAME,
    allow,
    charges_of,
    found_coordinator,
    hospitals_of,
    plan_sweep,
    signed_of,
)

import server.engines.sweep
from client.gate.ledger import require_ledger
from client.site.folder import open_site
from server.report.sweep import SweepResults
from shared.errors import EngineError
from shared.privacy.filter import Allowance

# Where the machine goes down: (run, stage), before or after the stage.
CUTS = (("trial-odds", "train", "after"), ("trial-bayes", "internal", "before"))


def spent(own: Coordinator, site: str, delta: float) -> float:
    allowance = Allowance(epsilon_lifetime=40.0, epsilon_per_run=20.0, delta=delta)
    ledger = require_ledger(open_site(own.sites[site]))
    return ledger.budget_of_everybody(allowance=allowance).epsilon_spent


def test_a_sweep_is_approved_once_resumed_and_charged_what_it_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = found_coordinator(tmp_path)
    # Tables of a hundred patients show an AUC at this price only.
    for folder in own.sites.values():
        allow(folder, epsilon_per_run=20, epsilon_lifetime=40)
    path = plan_sweep(own, tmp_path, "privacy.epsilon=2.5", "validation.epsilon=16")
    # Nobody has approved: nothing begins.
    assert "engine.sites-not-ready" in own.with_sites("sweep", "launch", NAME, "--json").stdout
    first, *others = hospitals_of(own).values()
    for hospital in others:
        hospital.must("approve", str(path), "--by", BY, "--code", short_code(path))
    assert "engine.sites-not-ready" in own.with_sites("sweep", "launch", NAME, "--json").stdout
    assert [charges_of(folder) for folder in own.sites.values()] == [[], [], []]
    first.must("approve", str(path), "--by", BY, "--code", short_code(path))
    assert own.told("sweep", "report", NAME)["error"] == "run.sweep-not-finished"

    # Cut off twice on the way.
    launch, waiting = server.engines.sweep.launch_stage, list(CUTS)
    played: list[tuple[str, str]] = []

    def go_down(store, stage, **given):  # type: ignore[no-untyped-def]
        cuts = [cut for cut in waiting if cut[:2] == (store.plan.run, stage)]
        waiting[:] = [cut for cut in waiting if cut not in cuts]
        if "before" not in {when for *_, when in cuts}:
            played.append((store.plan.run, stage))
            launch(store, stage, **given)
        if cuts:
            raise EngineError("killed", "somebody closed the lid")

    monkeypatch.setattr(server.engines.sweep, "launch_stage", go_down)
    for _ in CUTS:
        assert "engine.killed" in own.with_sites("sweep", "launch", NAME, "--json").stdout
    assert own.with_sites("sweep", "launch", NAME).exit_code == 0
    # Arm 1 was whole when the second cut came, and was not begun again.
    assert played.count(("trial-odds", "internal")) == 1
    n_played = len(played)
    assert own.with_sites("sweep", "launch", NAME).exit_code == 0
    assert len(played) == n_played, "a finished sweep asks nobody"

    # Every sum was charged once, and the ledgers say what the sweep says.
    signed = signed_of(own)
    stated = {(split.role, split.patients): split.epsilon for split in signed.sweep.predicted.splits}
    for site, role in (("ash", "training"), ("elm", "training"), ("hop", "external")):
        expected = [
            (plan.sha256, stage.name, number)
            for plan in signed.plans
            for stage in plan.stages
            if role in stage.roles and stage.patients != "accrued"
            for number in range(1, stage.rounds + 1)
        ]
        charged = [(row.plan_sha256, row.stage, row.round) for row in charges_of(own.sites[site])]
        assert sorted(charged) == sorted(expected)
        dearest = max(
            epsilon or 0.0
            for (asked, patients), epsilon in stated.items()
            if asked == role and patients != "accrued"
        )
        assert spent(own, site, signed.sweep.predicted.delta) == pytest.approx(dearest, abs=1e-6)

    # The arms beside each other.
    told = json.loads(own.type("sweep", "report", NAME, "--json").stdout)
    page = Path(told.pop("sweep.html"))
    results = SweepResults.model_validate(told)
    assert [arm.arm for arm in results.arms] == ["odds", "bayes"]
    assert results.sweep_sha256 == signed.sweep.sha256
    best = {each.kind: each for each in results.best}["external"]
    aucs = {
        arm.arm: each.auc.value
        for arm in results.arms
        for each in arm.figures
        if each.kind == "external" and each.auc is not None
    }
    assert best.arm == max(aucs, key=lambda name: aucs[name] or 0.0)
    assert 0 < best.by_chance < 0.5
    text = page.read_text()
    assert "The best of several is optimistic" in text
    assert f"{best.by_chance:.3f}" in text
    shown = own.type("sweep", "report", NAME).output
    assert "what chance makes of a best" in shown
