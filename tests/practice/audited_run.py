"""A run with a bug in it, through the real doors, and what an auditor makes of files and code.

One site's training with an audit register, and a whole run of three sites with its folder; what the
installed code answers by force is asked with the bug in it, files are read without.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from handed_over import play_run
from planted import planted
from table_site import TableSites, copy_sites, found_table_sites

from client.gate.ledger import Ledger
from client.gate.register import export_register
from shared.audit.attack.answers import answer_findings
from shared.audit.attack.company import company_findings
from shared.audit.canary.conformance import conformance_findings
from shared.audit.canary.one_run import canary_findings
from shared.audit.canary.records import audited_stage, read_records
from shared.audit.finding import Finding
from shared.audit.recount.claims import recount_findings
from shared.contract.protocol import SumRequest
from shared.errors import OsteoFedError

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
    """Findings of the methods that read a register, and of those that read a run folder.

    ``stopped``: the code with which the software itself refused to go on; empty where it did not.
    """

    conformance: list[Finding]
    canary: list[Finding]
    recount: list[Finding]
    stopped: str = ""

    def refuted(self, method: str) -> list[str]:
        """Claims that a method refutes."""
        findings: list[Finding] = getattr(self, method)
        return sorted({finding.claim for finding in findings if finding.verdict == "fail"})

    @property
    def bound(self) -> float:
        """The larger of the two lower bounds on ε."""
        return max(self.bounds)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower bounds on ε: Steinke's and by trade-off functions; 0 where the run was stopped."""
        figures = self.canary[-1].figures if self.canary else {}
        names = ("epsilon_steinke", "epsilon_fdp")
        steinke, fdp = (float(figures.get(name) or 0) for name in names)
        return steinke, fdp


def train_request(sites: TableSites, round_: int) -> SumRequest:
    """A round's request; the first one starts from the plan's weights."""
    return sites.train_request(round=round_, vector=sites.initial if round_ == 1 else sites.weights)


def play(made: TableSites, folder: Path, *, bug: str | None = None, tries_code: bool = True) -> Audited:
    """Train every round at a copy of site ``elm``, export what it must, and audit files and code.

    Args:
        made: the federation.
        folder: of the copy.
        bug: that is planted in the run, and in the code that is tried by force.
        tries_code: False: audits files alone.
    """
    sites, stopped = copy_sites(made, folder), ""
    with planted(bug):
        tried = [*company_findings(sites.plan), *answer_findings(sites.plan)] if tries_code else []
        try:
            for round_ in range(1, ROUNDS + 1):
                sites.answer(train_request(sites, round_))
        except OsteoFedError as error:
            stopped = error.code
    audited = Audited([], [], [], stopped) if stopped else audit(sites, folder)
    shutil.rmtree(folder)
    return replace(audited, conformance=[*audited.conformance, *tried])


def recount_whole(folder: Path, *, bug: str | None = None) -> tuple[list[Finding], str]:
    """Play a whole run of three sites, and recount what they and the coordinator hand over.

    The hospitals' policy lets a patient pay twice: or the ledger refuses to measure who trained.

    Returns:
        The findings, and the code with which the software refused to go on; then there are none.
    """
    try:
        with planted(bug):
            handed = play_run(folder, policy={"epsilon_per_run": 20.0, "epsilon_lifetime": 20.0})
        sites = [handed.evidence(site) for site in ("elm", "fir", "hop")]
        return recount_findings(handed.plan, sites), ""
    except OsteoFedError as error:
        return [], error.code
    finally:
        shutil.rmtree(folder)


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
    conforms = conformance_findings(record.register, plan, record.ledger.rows)
    return Audited(conforms, [committed, *found], [])
