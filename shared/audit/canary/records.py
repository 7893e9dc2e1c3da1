"""A site's audit register beside the ledger that committed to its coins; one register for each site.

Imports register, evidence, recounted and findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.audit.finding import Finding, Method
from shared.audit.recount.evidence import gather_evidence
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.plan import Plan
from shared.contract.stages import GradientStage
from shared.errors import AuditError
from shared.privacy.accountant import epsilon_of
from shared.privacy.register_format import RegisterRecord, read_register

COMMITTED = "The coins of the canaries were committed to in the ledger before they were used."


@dataclass(frozen=True)
class CommittedRegister:
    """A register and the verified ledger of its site."""

    register: RegisterRecord
    ledger: RecountedLedger

    @property
    def claimed_epsilon(self) -> float:
        """ε of everything that was charged for training under the plan."""
        events = [row.event for row in self.ledger.charges if row.purpose == "train" and row.event]
        return epsilon_of(events, self.ledger.plan.predicted.delta)

    def judge_commitment(self, method: Method) -> Finding:
        """Whether every charge for training named these coins."""
        named = [row.canaries_sha256 for row in self.ledger.charges if row.purpose == "train"]
        n_other = sum(sha256 != self.register.commitment for sha256 in named)
        is_committed = bool(named) and n_other == 0
        return Finding(
            method=method,
            site=self.register.site,
            claim=COMMITTED,
            verdict="pass" if is_committed else "fail",
            because=f"all {len(named)} charges for training name the hash of salt and coins"
            if is_committed
            else f"{n_other} of {len(named)} charges for training do not name the revealed coins",
            figures={"charges": len(named), "canaries": int(self.register.coins.size)},
            blind_to="Whether the coins were tossed fairly: a site could have chosen them.",
        )


def read_records(
    plan: Plan,
    *,
    registers: Sequence[Path],
    ledgers: Sequence[Path],
    site_keys: Mapping[str, str],
) -> list[CommittedRegister]:
    """Each register with its site's verified ledger.

    Raises:
        AuditError: a register is unreadable, of another plan, a site's second, another site's under a
            second name, or its site's ledger is missing.
        LedgerError: a ledger is damaged or foreign.
    """
    evidence = {each.site: each for each in gather_evidence(plan, ledgers=ledgers, site_keys=site_keys)}
    records: list[CommittedRegister] = []
    for path in registers:
        register = read_register(path)
        if register.plan_sha256 != plan.sha256 or register.site not in evidence:
            raise AuditError(
                "foreign-register",
                f"{path.name} must be of this plan and of one of {sorted(evidence)}",
                hint="name the register and the ledger export of the same site and run",
            )
        _require_new(register, [record.register for record in records], path)
        handed = evidence[register.site]
        rows = tuple(handed.export.rows(trusted_key=handed.site_key))
        records.append(CommittedRegister(register, RecountedLedger(plan, register.site, rows)))
    return records


def audited_stage(plan: Plan) -> GradientStage:
    """The stage whose sums a register records.

    Raises:
        AuditError: the plan trains nothing, or without noise, so that there is nothing to hold it to.
    """
    stage = plan.training
    if stage is None or not stage.is_private:
        raise AuditError(
            "nothing-noised",
            f"the plan of run {plan.run} trains nothing, or without noise: no register can be of it",
            hint="name the plan that the register was made under",
        )
    return stage


def missing_findings(
    plan: Plan, records: Sequence[CommittedRegister], method: Method, *, claim: str
) -> list[Finding]:
    """One finding for each training site whose register was not handed over; none without canaries.

    Args:
        claim: what the method examines first of a register.
    """
    stage = plan.training
    if stage is None or not stage.canaries:
        return []
    handed = {record.register.site for record in records}
    return [
        Finding(
            method=method,
            site=entry.site,
            claim=claim,
            verdict="not-run",
            because="no register was handed over",
            figures={},
            blind_to="Everything: the claim was not examined.",
        )
        for entry in plan.asked(stage)
        if entry.site not in handed
    ]


def _require_new(register: RegisterRecord, others: Sequence[RegisterRecord], path: Path) -> None:
    """Two sites toss their own coins and draw their own noise: neither can be the same twice."""
    for other in others:
        if other.site == register.site:
            raise AuditError("twice", f"two files are of site {other.site}", hint="name each once")
        is_copy = register.commitment == other.commitment or (
            register.sums.size > 0 and np.array_equal(register.sums, other.sums)
        )
        if is_copy:
            raise AuditError(
                "copied-register",
                f"{path.name} has the coins or sums of another site: the registers of {other.site} and "
                f"{register.site} are one",
                hint="ask each site for the file that `osteofed-site register` wrote there",
            )
