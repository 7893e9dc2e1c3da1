"""What a method of audit found: one claim, one verdict, the figures, and what the method cannot see.

Every method writes the same record, so that the auditor's report is a table of them. Imports nothing
heavy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from shared.errors import AuditError
from shared.machine.files import write_atomic
from shared.strict import FROZEN

Method = Literal["recount", "conformance", "canary", "membership", "inversion"]
Verdict = Literal["pass", "fail", "not-run"]


class Finding(BaseModel):
    """One claim examined by one method.

    Attributes:
        method: that examined it.
        site: whose claim it is.
        claim: in words.
        verdict: ``not-run``: it could not be examined.
        because: why the verdict is what it is, in one sentence.
        figures: what was measured, by a short name with its unit.
        blind_to: what this method could not have noticed.
    """

    model_config = FROZEN

    method: Method
    site: str
    claim: str = Field(min_length=1)
    verdict: Verdict
    because: str = Field(min_length=1)
    figures: dict[str, float | int | str | None]
    blind_to: str = Field(min_length=1)


class Findings(BaseModel):
    """The findings of one method on one run, as written to ``<method>.json``.

    Attributes:
        version: of this format.
        method: that found them.
        plan_sha256: hash of the run's plan.
        findings: one for each claim.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    method: Method
    plan_sha256: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """``fail`` if any claim failed, ``not-run`` if none was examined, else ``pass``."""
        verdicts = {finding.verdict for finding in self.findings}
        if "fail" in verdicts:
            return "fail"
        return "pass" if "pass" in verdicts else "not-run"


def write_findings(path: Path, findings: Findings) -> None:
    """Write one method's findings."""
    write_atomic(path, findings.model_dump_json(indent=1).encode())


def read_findings(paths: Sequence[Path]) -> list[Findings]:
    """Findings of several methods.

    Raises:
        AuditError: a file is not one.
    """
    read = []
    for path in paths:
        try:
            read.append(Findings.model_validate(json.loads(path.read_bytes())))
        except (OSError, ValueError, ValidationError) as error:
            raise AuditError(
                "unreadable-findings",
                f"{path.name} holds no findings: {type(error).__name__}",
                hint="name files that `osteofed-auditor` wrote",
            ) from None
    return read
