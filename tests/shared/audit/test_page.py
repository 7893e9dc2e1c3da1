"""The auditor's report: what a reader sees, and that one signature covers it."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from handed_over import HandedOver

from shared.audit.finding import Finding, Findings, Verdict, write_findings
from shared.audit.page import make_report, render_page, verify_report
from shared.audit.recount.claims import recount_findings
from shared.audit.wording import write_figure
from shared.contract.plan import Plan, write_plan
from shared.errors import AuditError
from shared.signing.keys import SigningKey, create_key

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


def a_finding(verdict: Verdict, *, method: str = "canary", site: str = "elm") -> Finding:
    return Finding(
        method=method,
        site=site,
        claim="epsilon is at most 3 at delta 1e-05",
        verdict=verdict,
        because="the canaries prove <b>at least</b> 1.20",
        figures={"epsilon_fdp": 1.2, "epsilon_steinke": 0.7, "n_canaries": 400},
        blind_to="anything before the clip",
    )


def put(folder: Path, plan: Plan, *findings: Finding) -> None:
    method = findings[0].method
    write_findings(
        folder / f"{method}.json",
        Findings(method=method, plan_sha256=plan.sha256, findings=findings),
    )


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return create_key(tmp_path / "keys" / "auditor.pem")


@pytest.fixture
def folder(made_run: HandedOver, tmp_path: Path) -> Path:
    """A recount of two of three sites, and the plan."""
    found = tmp_path / "findings"
    evidence = [made_run.evidence(name) for name in ("elm", "fir")]
    put(found, made_run.plan, *recount_findings(made_run.plan, evidence))
    write_plan(found / "plan.json", made_run.plan, made_run.coordinator)
    return found


def page_of(folder: Path, key: SigningKey) -> str:
    return make_report(folder, folder / "out", key=key, now=NOW)[1].read_text()


def words_of(page: str) -> str:
    """The page as a reader sees it."""
    found: list[str] = []
    reader = HTMLParser()
    reader.handle_data = found.append  # type: ignore[method-assign]
    reader.feed(page.split("</style>")[1])
    return " ".join(" ".join(found).split())


def test_the_page_makes_no_request_and_runs_no_script(folder: Path, key: SigningKey) -> None:
    page = page_of(folder, key)
    assert not re.search(r"<(script|link|img|iframe|object|form)|@import|url\(|src=|https?://", page)
    assert "default-src 'none'" in page


def test_the_page_says_what_was_promised_with_its_qualifiers(folder: Path, key: SigningKey) -> None:
    text = words_of(page_of(folder, key))
    for words in ("ε = 2.994 per patient", "add/remove", "1e-05", "exact Gaussian", "noise multiplier"):
        assert words in text


def test_every_method_says_what_it_cannot_see_or_that_it_was_not_used(
    folder: Path, key: SigningKey, made_run: HandedOver
) -> None:
    put(folder, made_run.plan, a_finding("pass"))
    text = words_of(page_of(folder, key))
    assert "What recount cannot see" in text
    assert "What canary cannot see Anything before the clip" in text
    assert "Partial: not used: conformance, membership, inversion." in text
    assert text.count("Not used, nothing examined.") == 3
    assert "Methods used 2 of 5 recount, canary" in text
    assert "hop" in text
    assert "No ledger export was handed over" in text


def test_an_attack_that_found_nothing_is_not_called_a_proof(
    folder: Path, key: SigningKey, made_run: HandedOver
) -> None:
    put(folder, made_run.plan, a_finding("pass"))
    text = words_of(page_of(folder, key))
    before, _, canary = text.partition("Canary How to read this")
    assert "✓ holds" in before
    assert "not refuted" not in before.split("Recount How")[1]
    assert "✓ not refuted" in canary
    assert "✓ holds" not in canary
    # the lower bound that canaries prove stands beside what was promised and recounted
    row = text.split("Hospital’s cap")[1].split("fir")[0].split()
    assert row == ["elm", "2.994", "2.994", "2.994", "1.2", "4.442", "10"]


def test_a_refuted_claim_is_the_first_thing_to_be_read(
    folder: Path, key: SigningKey, made_run: HandedOver
) -> None:
    put(folder, made_run.plan, a_finding("fail"))
    report, page, _ = make_report(folder, folder / "out", key=key, now=NOW)
    text = words_of(page.read_text())
    assert report.verdict == "fail"
    assert text.index("✕ 1 claim is refuted") < text.index("What the plan promised")
    assert "must not be relied upon" in text
    assert "The canaries prove <b>at least</b> 1.20" in text  # escaped, not interpreted
    assert "<b>at least</b>" not in page.read_text()
    assert "No claim that was examined is refuted" not in text


def test_an_audit_that_leaves_methods_out_is_called_partial_and_a_whole_one_is_not(
    folder: Path, key: SigningKey, made_run: HandedOver
) -> None:
    for method in ("conformance", "membership", "inversion"):
        put(folder, made_run.plan, a_finding("pass", method=method))
    put(folder, made_run.plan, a_finding("not-run"))
    report, page, data = make_report(folder, folder / "out", key=key, now=NOW)
    # a method that examined no claim has not been used, whatever it wrote
    assert (report.verdict, report.not_examined) == ("pass", ("canary",))
    assert verify_report(data, key.public_hex).not_examined == ("canary",)
    payload = base64.b64decode(json.loads(data.read_text())["payload"])
    assert json.loads(payload)["not_examined"] == ["canary"]
    text = words_of(page.read_text())
    headline = text.index("A partial audit: no claim that was examined is refuted")
    assert headline < text.index("Partial: not used: canary.") < text.index("What the plan promised")
    assert "Methods used 4 of 5 recount, conformance, membership, inversion" in text
    put(folder, made_run.plan, a_finding("pass"))
    report, page, _ = make_report(folder, folder / "out", key=key, now=NOW)
    assert (report.verdict, report.not_examined) == ("pass", ())
    whole = words_of(page.read_text())
    assert "✓ No claim is refuted by any method" in whole
    assert "artial" not in whole


def test_a_refuted_report_too_says_what_was_not_used(
    folder: Path, key: SigningKey, made_run: HandedOver
) -> None:
    put(folder, made_run.plan, a_finding("fail"))
    text = words_of(page_of(folder, key))
    assert "Partial: not used: conformance, membership, inversion." in text


def test_when_nothing_could_be_examined_nothing_is_said_to_hold(
    folder: Path, key: SigningKey, made_run: HandedOver
) -> None:
    (folder / "recount.json").unlink()
    put(folder, made_run.plan, a_finding("not-run"))
    report, page, _ = make_report(folder, folder / "out", key=key, now=NOW)
    assert report.verdict == "not-run"
    assert "No claim could be examined" in page.read_text()
    assert "✓" not in words_of(page.read_text())


def test_one_signature_covers_findings_and_page(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    made, page, data = make_report(folder, tmp_path / "out", key=key, now=NOW)
    assert verify_report(data, key.public_hex) == made
    assert set(made.sources) == {"recount.json"}
    with pytest.raises(AuditError, match="has not signed"):
        verify_report(data, create_key(tmp_path / "other.pem").public_hex)
    genuine = page.read_bytes()
    page.write_bytes(genuine.replace(b"holds", b"folds", 1))
    with pytest.raises(AuditError, match="not the page that was signed"):
        verify_report(data, key.public_hex)
    page.write_bytes(genuine)
    content = data.read_bytes()
    for place in range(0, len(content), 97):
        data.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(AuditError):
            verify_report(data, key.public_hex)


def test_the_page_is_the_same_for_the_same_findings(
    folder: Path, key: SigningKey, made_run: HandedOver, tmp_path: Path
) -> None:
    made, page, _ = make_report(folder, tmp_path / "out", key=key, now=NOW)
    again = made.model_copy(update={"page_sha256": ""})
    assert render_page(again, made_run.plan) == page.read_text()


def test_findings_of_two_plans_are_not_mixed(
    folder: Path, key: SigningKey, made_run: HandedOver, tmp_path: Path
) -> None:
    other = Plan.model_validate(made_run.plan.model_dump(mode="json") | {"run": "another-run"})
    put(folder, other, a_finding("pass"))
    with pytest.raises(AuditError, match="not all of the plan"):
        make_report(folder, tmp_path / "out", key=key, now=NOW)
    with pytest.raises(AuditError, match="holds none of"):
        make_report(tmp_path, tmp_path / "out", key=key, now=NOW)


def test_a_figure_is_written_with_four_digits_and_never_as_a_wrong_zero() -> None:
    written = {2.99412: "2.994", 1e-5: "1e−05", -0.5: "−0.5", 1234567: "1234567", "yes": "yes"}
    assert {value: write_figure(value) for value in written} == written
    assert write_figure(None) == "–"
    assert write_figure("a" * 64) == "a" * 16 + "…"
