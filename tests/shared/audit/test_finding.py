"""A method's verdict is the worst of its claims, and silence is not consent."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.audit.finding import Finding, Findings, read_findings, write_findings
from shared.errors import AuditError


def finding(verdict: str) -> Finding:
    return Finding(
        method="recount",
        site="north",
        claim="epsilon is at most 3",
        verdict=verdict,
        because="it was recomputed",
        figures={"epsilon": 2.5, "rows": 7, "hash": None},
        blind_to="forged rows",
    )


def findings(*verdicts: str) -> Findings:
    made = tuple(finding(verdict) for verdict in verdicts)
    return Findings(method="recount", plan_sha256="a" * 64, findings=made)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "not-run"),
        (("not-run",), "not-run"),
        (("pass", "not-run"), "pass"),
        (("pass", "pass"), "pass"),
        (("pass", "fail", "not-run"), "fail"),
        (("not-run", "fail"), "fail"),
    ],
)
def test_one_refuted_claim_refutes_and_none_examined_is_said(
    verdicts: tuple[str, ...], expected: str
) -> None:
    assert findings(*verdicts).verdict == expected


def test_findings_are_read_back_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recount.json"
    write_findings(path, findings("pass", "fail"))
    assert read_findings([path, path]) == [findings("pass", "fail")] * 2
    for content in ("{}", "[", path.read_text().replace('"recount"', '"guess"')):
        path.write_text(content)
        with pytest.raises(AuditError) as caught:
            read_findings([path])
        assert caught.value.code == "audit.unreadable-findings"


def test_a_claim_says_why_and_to_what_it_is_blind() -> None:
    for name in ("claim", "because", "blind_to"):
        with pytest.raises(ValueError, match=name):
            Finding.model_validate(finding("pass").model_dump() | {name: ""})
