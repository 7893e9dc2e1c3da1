"""One site's run with an audit register, through its real door, and what an auditor makes of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from planted import planted
from table_site import TableSites, copy_sites, found_table_sites

from client.gate.ledger import Ledger
from client.gate.register import export_register
from shared.audit.attack.company import company_findings
from shared.audit.canary.conformance import conformance_findings
from shared.audit.canary.one_run import canary_findings
from shared.audit.canary.records import audited_stage, read_records
from shared.audit.finding import Finding
from shared.contract.protocol import SumRequest

ROUNDS = 2


def found_audited(
    folder: Path, *, epsilon: float, canaries: int, sample_rate: float, local_steps: int
) -> TableSites:
    """A federation whose plan asks for an audit, approved by sites that allow its ε."""
    sites = found_table_sites(
        folder,
        f"privacy.canaries={canaries}",
        f"privacy.epsilon={epsilon}",
        f"privacy.sample_rate={sample_rate}",
        f"federation.rounds={ROUNDS}",
        f"federation.local_steps={local_steps}",
        "federation.learning_rate=0.05",
    )
    sites.change_policy(
        epsilon_per_run=max(3.0, epsilon) + 0.1,
        epsilon_lifetime=epsilon + 4,
        noise_multiplier_floor=0.5,
    )
    return sites


@dataclass(frozen=True)
class Audited:
    """Findings of the two methods that read a register."""

    conformance: list[Finding]
    canary: list[Finding]

    def refuted(self, method: str) -> list[str]:
        """Claims that a method refutes."""
        findings = self.conformance if method == "conformance" else self.canary
        return [finding.claim for finding in findings if finding.verdict == "fail"]

    @property
    def bound(self) -> float:
        """The larger of the two lower bounds on ε."""
        figures = self.canary[-1].figures
        return max(float(figures["epsilon_steinke"] or 0), float(figures["epsilon_fdp"] or 0))


def train_request(sites: TableSites, round_: int) -> SumRequest:
    """A round's request; the first one starts from the plan's weights."""
    return sites.train_request(round=round_, vector=sites.initial if round_ == 1 else sites.weights)


def play(made: TableSites, folder: Path, *, bug: str | None = None) -> Audited:
    """Train every round at a copy of site ``elm``, export what it must, and audit files and code."""
    sites = copy_sites(made, folder)
    with planted(bug):
        for round_ in range(1, ROUNDS + 1):
            sites.answer(train_request(sites, round_))
        tried = company_findings(sites.plan)
    audited = audit(sites, folder)
    shutil.rmtree(folder)
    return replace(audited, conformance=[*audited.conformance, *tried])


def audit(sites: TableSites, folder: Path) -> Audited:
    """Export register and ledger, and read them as ``osteofed-auditor`` does."""
    site, plan = sites.site(), sites.plan
    register, ledger = folder / "register.npz", folder / "ledger.json"
    export_register(site, plan, register)
    own = Ledger(site.folder / "ledger", site=site.name, key=site.key, clock=site.clock)
    own.export(ledger, allowance=site.policy.allowance)
    (record,) = read_records(plan, registers=[register], ledgers=[ledger], site_keys={})
    stage = audited_stage(plan)
    committed = record.judge_commitment("canary")
    found = canary_findings(
        record.register,
        claimed_epsilon=record.claimed_epsilon,
        delta=plan.settings.delta,
        clip_norm=stage.clip_norm,
        noise_multiplier=stage.noise_multiplier,
        sample_rate=stage.sample_rate,
    )
    return Audited(conformance_findings(record.register, plan, record.ledger.rows), [committed, *found])
