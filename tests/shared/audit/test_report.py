"""The signed report: opened by who knows the auditor's key, and repeated for its own plan and site."""

from __future__ import annotations

from pathlib import Path

import pytest
from handed_over import HandedOver, signed_report

from shared.audit.report import open_report
from shared.errors import AuditError
from shared.signing.keys import create_key


def test_a_report_is_opened_by_the_auditors_key_alone(made_run: HandedOver, tmp_path: Path) -> None:
    auditor, stranger = (create_key(tmp_path / f"{name}.pem") for name in ("auditor", "stranger"))
    path = signed_report(made_run, tmp_path, auditor, elm="pass")
    assert open_report(path, auditor.public_hex).auditor_key == auditor.public_hex
    with pytest.raises(AuditError) as caught:
        open_report(path, stranger.public_hex)
    assert caught.value.code == "audit.signer-missing"


def test_a_verdict_about_one_site_is_of_the_claims_of_that_site(
    made_run: HandedOver, tmp_path: Path
) -> None:
    auditor, plan = create_key(tmp_path / "auditor.pem"), made_run.plan.sha256
    path = signed_report(made_run, tmp_path, auditor, elm="pass", fir="fail")
    report = open_report(path, auditor.public_hex)
    assert report.verdict == "fail"
    assert report.verdicts_of(plan, "elm") == {"canary": "pass"}
    assert report.verdicts_of(plan, "fir") == {"canary": "fail"}
    assert report.verdicts_of(plan, "hop") == {}
    assert report.verdicts_of("0" * 64, "elm") == {}
