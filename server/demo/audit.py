"""The demo's audit: hospitals hand over files, an auditor examines them, and attacks the release.

Every method but one runs as the auditor would type it, on exported files alone. The attack on the
release itself needs patients, which only the demo can lend, because they are synthetic. Imports both
sides, as the demo does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from client.cohort.patients import load_split
from client.gate.export import export_ledger
from client.gate.ledger import Ledger
from client.gate.outbox import Outbox
from client.gate.register import export_register
from client.gate.statement import state_run
from client.site.folder import Site, open_site
from server.run.folder import RunStore
from shared.audit.attack.membership import AuditedSite, attack_run, membership_findings
from shared.audit.attack.rehearsal import rehearsal_findings
from shared.audit.attack.variations import training_of
from shared.audit.finding import Finding, Findings, write_findings
from shared.contract.plan import Plan
from shared.contract.release import read_release
from shared.errors import RunError
from shared.machine.terminal import say
from shared.privacy.cost import events_of
from shared.train.patients import join_patients

_SEED = 1  # draws members' halves and public patients, never noise


def audit_demo(folder: Path, store: RunStore, site_folders: Sequence[Path]) -> dict[str, str]:
    """Audit a finished demo in ``folder``/audit and return the files to look at.

    Raises:
        RunError: the auditor's command could not do its work.
    """
    audit = folder / "audit"
    shutil.rmtree(audit, ignore_errors=True)
    handed = audit / "handed"
    handed.mkdir(parents=True)
    plan, plan_file = store.plan, store.folder / "plan.json"
    sites = [open_site(path) for path in site_folders]
    for site in sites:
        _hand_over(site, plan, handed)
    training = [entry.site for entry in plan.sites("training")]
    ledgers = _options("--ledger", handed, [site.name for site in sites], "ledger.json")
    findings, report = audit / "findings", audit / "report"
    out = ["--out", str(findings)]
    statements = _options("--statement", handed, [site.name for site in sites], "statement.json")
    outboxes = [f"--outbox={site.name}={handed / f'{site.name}-outbox.json'}" for site in sites]
    run = ["--run", str(store.folder)]
    _auditor("recount", str(plan_file), *ledgers, *statements, *outboxes, *run, *out)
    if _n_canaries(plan):
        registers = _options("--register", handed, training, "register.npz")
        for method in ("conformance", "canary"):
            _auditor(method, str(plan_file), *registers, *ledgers, *out)
    _auditor("inversion", str(plan_file), *out)
    say("attacking the release and its rehearsal: 64 and more models are trained, minutes")
    attacked = _attack_release(plan, sites, store)
    rehearsed = rehearsal_findings(plan, n_references=16, seed=_SEED)
    write_findings(
        findings / "membership.json",
        Findings(method="membership", plan_sha256=plan.sha256, findings=(*attacked, *rehearsed)),
    )
    key = audit / "auditor.pem"
    _auditor("init", str(key))
    _auditor("report", str(findings), "--key", str(key), "--out", str(report))
    return {
        "audit": str(report / "audit-report.html"),
        "signed audit": str(report / "audit-report.json"),
    }


def _hand_over(site: Site, plan: Plan, handed: Path) -> None:
    """What one hospital exports for an auditor; the statement first, as it names the ledger's head."""
    say(f"  {site.name}: osteofed-site statement · ledger export · outbox --json · register")
    state_run(site, plan.sha256, handed / f"{site.name}-statement.json")
    ledger = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
    export_ledger(site, ledger, handed / f"{site.name}-ledger.json")
    if _n_canaries(plan) and plan.entry(site.name).role == "training":
        export_register(site, plan, handed / f"{site.name}-register.npz")
    departures = Outbox(site.folder / "outbox", site.folder / "replies").show()
    lines = json.dumps([asdict(each) for each in departures])
    (handed / f"{site.name}-outbox.json").write_text(lines)


def _attack_release(plan: Plan, sites: Sequence[Site], store: RunStore) -> list[Finding]:
    """LiRA and RMIA on the real release: training patients against the held-out ones of each site."""
    stage, name = training_of(plan), plan.settings.cohort.name
    pools = []
    for site in sites:
        entry = plan.entry(site.name)
        if entry.role != "training":
            continue
        members = load_split(site, plan, name=name, split="train").batch
        others = load_split(site, plan, name=name, split="internal").batch
        parts = [part.select(part.exam_mask.any(dim=1).nonzero()[:, 0]) for part in (members, others)]
        pool = join_patients(*parts)
        is_member = np.arange(len(pool)) < len(parts[0])
        pools.append(AuditedSite(site=site.name, pool=pool, is_member=is_member))
    release = read_release(store.release_folder, coordinator_key=plan.coordinator_key)
    attacked = attack_run(plan, stage, pools, release.weights, seed=_SEED)
    return membership_findings(
        attacked, events_of(stage) or (), site="the release", delta=plan.settings.delta
    )


def _n_canaries(plan: Plan) -> int:
    return plan.training.canaries if plan.training else 0


def _options(name: str, handed: Path, sites: Sequence[str], suffix: str) -> list[str]:
    return [part for site in sites for part in (name, str(handed / f"{site}-{suffix}"))]


def _auditor(*arguments: str) -> None:
    """Run ``osteofed-auditor`` as a process of its own; a refuted claim is a result, not an error."""
    shown = " ".join(Path(part).name if "/" in part else part for part in arguments)
    say(f"  osteofed-auditor {shown}")
    done = subprocess.run([sys.executable, "-m", "shared.audit.command", *arguments], check=False)
    if done.returncode not in (0, 3, 4):
        raise RunError(
            "audit-stopped",
            f"osteofed-auditor {arguments[0]} ended with code {done.returncode}",
            hint="its own message is above",
        )
