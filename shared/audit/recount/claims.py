"""The recount: a site's privacy claims recomputed from exported files, trusting neither side.

Every claim becomes one finding. Imports evidence and the three parts of the recount.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.audit.finding import Finding
from shared.audit.recount.evidence import SiteEvidence
from shared.audit.recount.ledger import recount_ledger
from shared.audit.recount.recounted import RecountedLedger, judge, not_examined
from shared.audit.recount.releases import recount_releases
from shared.audit.recount.statement import recount_statement
from shared.contract.plan import Plan
from shared.errors import OsteoFedError

CHAIN = "The ledger is whole, in order and signed by the site's enrolled key."
_BLIND_ROSTER = (
    "Whoever wrote the plan could have made up the keys on its roster: ask the hospitals for them and "
    "give them to `recount`."
)
_BLIND_CHAIN = (
    "A touch of patients that was never written down, and a ledger rewritten as a whole before its "
    "first head was countersigned."
)


def recount_findings(plan: Plan, evidence: Sequence[SiteEvidence]) -> list[Finding]:
    """Findings about every site of the roster; one whose ledger is not there is not examined."""
    handed = {each.site: each for each in evidence}
    findings = []
    for entry in plan.roster:
        if entry.site in handed:
            findings += recount_site(plan, handed[entry.site])
        else:
            findings.append(not_examined(entry.site, CHAIN, "no ledger export was handed over"))
    return findings


def recount_site(plan: Plan, evidence: SiteEvidence) -> list[Finding]:
    """Findings of every claim about one site that its files allow to examine.

    Args:
        plan: the coordinator's signed plan, read with its key.
        evidence: what was handed over.
    """
    try:
        rows = tuple(evidence.export.rows(trusted_key=evidence.site_key))
        for row in rows:
            _ = row.event  # refuses noise that no accountant takes
    except (OsteoFedError, TypeError, ValueError) as error:
        fact = error.fact if isinstance(error, OsteoFedError) else type(error).__name__
        return [judge(evidence.site, CHAIN, [fact], holds="", blind_to=_BLIND_CHAIN)]
    ledger = RecountedLedger(plan, evidence.site, rows)
    return [
        _judge_chain(ledger, evidence),
        *recount_ledger(ledger, evidence),
        *recount_releases(ledger, evidence),
        recount_statement(ledger, evidence),
    ]


def _judge_chain(ledger: RecountedLedger, evidence: SiteEvidence) -> Finding:
    is_known = evidence.key_from == "enrolment"
    source = "known from enrolment" if is_known else "named by the plan's roster only"
    return judge(
        ledger.site,
        CHAIN,
        [],
        holds=f"every row carries its hash, the hash before it and a signature by the key {source}",
        blind_to=_BLIND_CHAIN if is_known else f"{_BLIND_ROSTER} {_BLIND_CHAIN}",
        figures={
            "rows": len(ledger.rows),
            "head_sha256": ledger.rows[-1].sha256,
            "site_key": evidence.site_key,
        },
    )
