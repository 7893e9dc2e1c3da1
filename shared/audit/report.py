"""The auditor's signed report: everything that was found on one run, and what a site may repeat of it.

A DSSE envelope. Imports findings and envelope.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field, ValidationError

from shared.audit.finding import Finding, Findings, Method, Verdict
from shared.contract.plan import HASH
from shared.errors import AuditError
from shared.signing.envelope import read_envelope, require_signers
from shared.strict import FROZEN

PAYLOAD_TYPE: Final = "application/vnd.osteofed.audit-report+json"


class AuditReport(BaseModel):
    """All that an auditor found on one run.

    Attributes:
        version: of this format.
        run: the run.
        plan_sha256: hash of its plan.
        auditor_key: that signs the report.
        written_utc: when it was written.
        code_sha256: hash of the auditor's installed code.
        sources: the findings' files by name, and their SHA-256.
        findings: of all methods.
        not_examined: methods without a single examined claim: with any of them the audit is partial,
            and its verdict is that of what was examined.
        page_sha256: hash of the page for people.
    """

    model_config = FROZEN

    version: Literal[2] = 2
    run: str
    plan_sha256: str = Field(pattern=HASH)
    auditor_key: str = Field(pattern=HASH)
    written_utc: str
    code_sha256: str = Field(pattern=HASH)
    sources: dict[str, str]
    findings: tuple[Findings, ...]
    not_examined: tuple[Method, ...]
    page_sha256: str = ""

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Findings of all methods."""
        return tuple(finding for part in self.findings for finding in part.findings)

    @property
    def verdict(self) -> Verdict:
        """As ``Findings.verdict``, over all methods."""
        verdicts = {part.verdict for part in self.findings}
        if "fail" in verdicts:
            return "fail"
        return "pass" if "pass" in verdicts else "not-run"

    def verdicts_of(self, plan_sha256: str, site: str) -> dict[Method, Verdict]:
        """The verdict of each method over one site's claims; none: it is not about plan or site."""
        if plan_sha256 != self.plan_sha256:
            return {}
        own = (
            part.model_copy(
                update={"findings": tuple(each for each in part.findings if each.site == site)}
            )
            for part in self.findings
        )
        return {part.method: part.verdict for part in own if part.findings}

    def count(self, verdict: Verdict) -> int:
        """How many claims ended with this verdict."""
        return sum(finding.verdict == verdict for finding in self.all_findings)


def open_report(path: Path, auditor_key: str) -> AuditReport:
    """Read a report and check the auditor's signature, without the page for people.

    Raises:
        AuditError: changed in any byte, or signed by another key.
    """
    envelope = read_envelope(path, payload_type=PAYLOAD_TYPE)
    require_signers(envelope, [auditor_key])
    try:
        return AuditReport.model_validate(json.loads(envelope.payload))
    except (ValueError, ValidationError) as error:
        raise AuditError(
            "unreadable-report",
            f"{path.name} holds no report of this version: {type(error).__name__}",
            hint="install the release of OsteoFed that wrote it",
        ) from None
