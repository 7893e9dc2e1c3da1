"""The demo's audit: what hospitals hand over, what the auditor is asked, and who is called a member."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import practice_federation as practice
import pytest
import torch
from practice_patients import practice_patients

from client.gate.outbox import Departure
from server.demo import audit
from shared.audit.attack.membership import AuditedSite
from shared.audit.finding import Finding
from shared.errors import RunError
from shared.machine.files import write_atomic


def test_members_are_who_trained_and_the_others_were_held_out_with_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=1, n_external=1)
    trained, held_out = practice_patients(5, seed=1), practice_patients(9, seed=2)
    exam_mask = held_out.exam_mask.clone()
    exam_mask[3] = False
    splits = {"train": trained, "internal": replace(held_out, exam_mask=exam_mask)}
    attacked: list[AuditedSite] = []

    def load(_site: object, _plan: object, *, name: str, split: str) -> SimpleNamespace:
        assert name == "practice"
        return SimpleNamespace(batch=splits[split])

    monkeypatch.setattr(audit, "load_split", load)
    monkeypatch.setattr(audit, "read_release", lambda *_, **__: SimpleNamespace(weights=None))
    monkeypatch.setattr(audit, "attack_run", lambda _, __, pools, ___, **____: attacked.extend(pools))
    monkeypatch.setattr(audit, "membership_findings", lambda *_, **__: [])
    audit._attack_release(
        store.plan, [SimpleNamespace(name="site-0"), SimpleNamespace(name="site-1")], store
    )
    [only] = attacked  # the external site trained nothing
    assert only.site == "site-0"
    assert only.is_member.tolist() == [True] * 5 + [False] * 8
    members = only.pool.select(np.flatnonzero(only.is_member))
    others = only.pool.select(np.flatnonzero(~only.is_member))
    assert torch.equal(members.fields, trained.fields)
    assert torch.equal(others.fields, held_out.fields[[0, 1, 2, 4, 5, 6, 7, 8]])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the auditor's command was asked for; hospitals hand over nothing, attacks find nothing."""
    commands: list[tuple[str, ...]] = []

    def finding(method: str) -> Finding:
        return Finding(
            method="membership",
            site=method,
            claim="a claim",
            verdict="pass",
            because="it is so",
            figures={},
            blind_to="much",
        )

    monkeypatch.setattr(audit, "_auditor", lambda *arguments: commands.append(arguments))
    monkeypatch.setattr(audit, "_hand_over", lambda *_: None)
    monkeypatch.setattr(audit, "open_site", lambda path: SimpleNamespace(name=path.name))
    monkeypatch.setattr(audit, "_attack_release", lambda *_: [finding("attacked")])
    monkeypatch.setattr(audit, "rehearsal_findings", lambda *_, **__: [finding("rehearsed")])
    return commands


def given(command: Sequence[str], option: str) -> list[str]:
    """The files given with an option, by name."""
    return [Path(command[place + 1]).name for place, part in enumerate(command) if part == option]


@pytest.mark.parametrize("n_canaries", [0, 40])
def test_an_auditor_gets_every_sites_files_and_the_registers_of_those_that_trained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[tuple[str, ...]],
    n_canaries: int,
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2, n_external=1)
    monkeypatch.setattr(audit, "_n_canaries", lambda _: n_canaries)
    (tmp_path / "demo" / "audit" / "findings").mkdir(parents=True)
    (tmp_path / "demo" / "audit" / "findings" / "old.json").write_text("of an earlier demo")
    files = audit.audit_demo(tmp_path / "demo", store, list(folders.values()))
    everybody = ["site-0", "site-1", "site-2"]
    recount = asked[0]
    assert recount[:2] == ("recount", str(store.folder / "plan.json"))
    assert given(recount, "--ledger") == [f"{site}-ledger.json" for site in everybody]
    assert given(recount, "--statement") == [f"{site}-statement.json" for site in everybody]
    assert given(recount, "--run") == [store.folder.name]
    outboxes = [part.split("=")[1] for part in recount if part.startswith("--outbox=")]
    assert outboxes == everybody
    audited = ["conformance", "canary"] if n_canaries else []
    assert [command[0] for command in asked] == ["recount", *audited, "inversion", "init", "report"]
    for command in asked[1 : 1 + len(audited)]:
        assert given(command, "--register") == ["site-0-register.npz", "site-1-register.npz"]
        assert given(command, "--ledger") == [f"{site}-ledger.json" for site in everybody]
    for command in asked[:-2]:
        assert given(command, "--out") == ["findings"]
    assert given(asked[-1], "--out") == ["report"]
    assert given(asked[-1], "--key") == [Path(asked[-2][1]).name]
    findings = tmp_path / "demo" / "audit" / "findings"
    written = json.loads((findings / "membership.json").read_text())
    assert [each["site"] for each in written["findings"]] == ["attacked", "rehearsed"]
    assert written["plan_sha256"] == store.plan.sha256
    assert not (findings / "old.json").exists()
    assert files == {
        "audit": str(tmp_path / "demo" / "audit" / "report" / "audit-report.html"),
        "signed audit": str(tmp_path / "demo" / "audit" / "report" / "audit-report.json"),
    }


@pytest.mark.parametrize(
    ("n_canaries", "role", "has_register"),
    [(40, "training", True), (40, "external", False), (0, "training", False)],
)
def test_a_hospital_hands_over_statement_ledger_outbox_and_the_register_of_its_canaries(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_canaries: int,
    role: str,
    has_register: bool,
) -> None:
    written: list[str] = []

    def write(*arguments: object) -> None:
        path = arguments[-1]
        assert isinstance(path, Path)
        written.append(path.name)
        write_atomic(path, b"")

    departures = [departure("one"), departure("two")]
    monkeypatch.setattr(audit, "state_run", write)
    monkeypatch.setattr(audit, "export_ledger", write)
    monkeypatch.setattr(audit, "export_register", write)
    monkeypatch.setattr(audit, "Ledger", lambda folder, **_: folder)
    monkeypatch.setattr(audit, "_n_canaries", lambda _: n_canaries)
    monkeypatch.setattr(audit, "Outbox", lambda *_: SimpleNamespace(show=lambda: departures))
    site = SimpleNamespace(name="elm", folder=tmp_path, key=None, clock=None)
    plan = SimpleNamespace(sha256="a" * 64, entry=lambda _: SimpleNamespace(role=role))
    audit._hand_over(site, plan, tmp_path)
    register = ["elm-register.npz"] if has_register else []
    assert written == ["elm-statement.json", "elm-ledger.json", *register]
    outbox = json.loads((tmp_path / "elm-outbox.json").read_text())
    assert [each["message"] for each in outbox] == ["one", "two"]


def departure(message: str) -> Departure:
    return Departure(
        utc="2026-01-01",
        channel="federation",
        release_class="dp",
        message=message,
        n_bytes=1,
        payload_sha256="",
        epsilon=0.1,
        plan_sha256="",
    )


@pytest.mark.parametrize(("code", "goes_on"), [(0, True), (3, True), (4, True), (1, False), (2, False)])
def test_a_refuted_claim_is_a_result_and_a_command_that_failed_is_not(
    monkeypatch: pytest.MonkeyPatch, code: int, goes_on: bool
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> SimpleNamespace:
        ran.append(command[1:])
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(audit.subprocess, "run", run)
    if goes_on:
        audit._auditor("recount", "plan.json")
    else:
        with pytest.raises(RunError, match=f"osteofed-auditor recount ended with code {code}"):
            audit._auditor("recount", "plan.json")
    assert ran == [["-m", "shared.audit.command", "recount", "plan.json"]]
