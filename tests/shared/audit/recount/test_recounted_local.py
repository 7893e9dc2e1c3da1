"""Local training read by an auditor: charged, kept at the site; weights that left are found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from late_hospital import BY, Hospital
from practice_offline import finish, key_of, store_of, stranger
from table_site import found_table_sites

import shared.audit.recount.ledger as recount_ledger
from client.site.folder import open_site
from shared.audit.finding import Finding
from shared.audit.recount.charges import recount_charges
from shared.audit.recount.claims import recount_findings
from shared.audit.recount.evidence import SiteEvidence, gather_evidence
from shared.audit.recount.outbox import recount_outbox
from shared.audit.recount.recounted import RecountedLedger
from shared.audit.recount.releases import recount_releases
from shared.contract.plan import Plan, read_plan


@pytest.fixture(scope="module")
def kay(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A hospital that trained a release further, and handed over what an auditor asks for."""
    sites = found_table_sites(tmp_path_factory.mktemp("made"))
    finish(sites)
    kay, out = stranger(sites.folder / "elsewhere"), sites.folder / "elsewhere"
    release, key = str(store_of(sites).release_folder), key_of(sites).public_hex
    said = ("--by", BY, "--out", str(out / "local.json"), "--coordinator", key, "--yes")
    kay.told("personalise", release, *said, "--epsilon", "2")
    kay.must("ledger", "export", str(out / "ledger.json"))
    (out / "outbox.json").write_text(json.dumps(json.loads(kay.type("outbox", "--json").stdout)))
    kay.told("statement", plan_of(kay).sha256, "--out", str(out / "statement.json"))
    return kay


@pytest.fixture(autouse=True)
def _one_accountant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has no part in these claims and is slow."""
    monkeypatch.setattr(recount_ledger, "second_epsilon", recount_ledger.epsilon_of)


def plan_of(kay: Hospital) -> Plan:
    [path] = (kay.folder / "offline" / "plans").glob("*.json")
    return read_plan(path)


def evidence_of(kay: Hospital, outbox: Path | None = None) -> SiteEvidence:
    out = kay.folder.parent
    [found] = gather_evidence(
        plan_of(kay),
        ledgers=[out / "ledger.json"],
        statements=[out / "statement.json"],
        outboxes={"kay": outbox or out / "outbox.json"},
    )
    return found


def ledger_of(kay: Hospital) -> RecountedLedger:
    key = open_site(kay.folder).key.public_hex
    return RecountedLedger(plan_of(kay), "kay", tuple(evidence_of(kay).export.rows(trusted_key=key)))


def failed(findings: list[Finding]) -> Mapping[str, str]:
    return {each.claim: each.because for each in findings if each.verdict == "fail"}


def test_an_honest_hospital_passes_and_its_local_training_is_counted(kay: Hospital) -> None:
    findings = recount_findings(plan_of(kay), [evidence_of(kay)])
    assert failed(findings) == {}
    by_claim = {each.claim: each for each in findings}
    charges = next(each for each in findings if "charges_without_release" in each.figures)
    assert (charges.figures["rounds_released"], charges.figures["charges_without_release"]) == (2, 0)
    cost = next(each for each in findings if "epsilon_recounted" in each.figures)
    assert cost.figures["epsilon_recounted"] == pytest.approx(
        plan_of(kay).predicted.dearest("training"), abs=1e-6
    )
    outcomes = next(each for each in by_claim.values() if "kept_at_the_site" in each.figures)
    assert (outcomes.figures["releases"], outcomes.figures["kept_at_the_site"]) == (1, 1)


def test_weights_that_were_to_stay_and_left_are_found(kay: Hospital, tmp_path: Path) -> None:
    honest = ledger_of(kay)
    [kept] = [row for row in honest.answers if row.status == "kept"]
    assert failed(recount_releases(honest, evidence_of(kay))) == {}
    # the ledger says that they left
    rows = tuple(replace(row, status="released") if row == kept else row for row in honest.rows)
    found = failed(recount_releases(replace(honest, rows=rows), evidence_of(kay)))
    assert any("trained to stay" in because for because in found.values())
    # the outbox says so, and the ledger does not
    lines = json.loads((kay.folder.parent / "outbox.json").read_text())
    gone = lines[0] | {"payload_sha256": kept.payload_sha256, "channel": "train"}
    path = tmp_path / "outbox.json"
    path.write_text(json.dumps([*lines, gone]))
    assert "left without a charge" in recount_outbox(honest, evidence_of(kay, path)).because


def test_local_training_with_less_noise_than_its_plan_is_refuted(kay: Hospital) -> None:
    honest = ledger_of(kay)
    rows = tuple(
        replace(row, noise_multiplier=(row.noise_multiplier or 0) / 2)
        if (row.kind, row.purpose) == ("charge", "train")
        else row
        for row in honest.rows
    )
    assert recount_charges(honest).verdict == "pass"
    assert recount_charges(replace(honest, rows=rows)).verdict == "fail"
