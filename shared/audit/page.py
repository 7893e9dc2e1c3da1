"""The auditor's report: one signed JSON for programs, one self-contained page for people.

``audit-report.json`` (``shared.audit.report``) holds the SHA-256 of the page, so that one signature
covers both. Imports findings, report, envelope and plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared.audit.finding import Finding, Findings, Method, read_findings
from shared.audit.report import PAYLOAD_TYPE, AuditReport, open_report
from shared.audit.wording import (
    LIMITS,
    MEANING,
    METHODS,
    write_figure,
    write_name,
    write_scope,
    write_verdict,
)
from shared.contract.plan import Plan, read_plan
from shared.errors import AuditError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, hash_file, sha256_hex
from shared.signing.code_hash import installed_code_hash
from shared.signing.envelope import (
    Envelope,
    add_signature,
    write_envelope,
)
from shared.signing.keys import SigningKey

TEMPLATE = "report.html.j2"
PAGE, DATA, PLAN = "audit-report.html", "audit-report.json", "plan.json"


@dataclass(frozen=True)
class MethodSection:
    """One method as the page shows it; without findings it was not run."""

    method: Method
    meaning: str
    sites: tuple[str, ...]
    claims: tuple[tuple[str, dict[str, Finding]], ...]
    blind_to: tuple[str, ...]


def make_report(
    folder: Path, out: Path, *, key: SigningKey, now: datetime
) -> tuple[AuditReport, Path, Path]:
    """Read a folder of findings, write page and signed JSON into ``out``.

    Args:
        folder: where the methods wrote ``<method>.json`` and the plan.

    Raises:
        AuditError: there are no findings, or they are of different plans.
        PlanError: the plan beside them is damaged.
    """
    paths = [path for method in METHODS if (path := folder / f"{method}.json").exists()]
    if not paths:
        raise AuditError(
            "no-findings",
            f"{folder} holds none of {[f'{method}.json' for method in METHODS]}",
            hint="run `osteofed-auditor recount` and the other methods into it first",
        )
    findings, plan = read_findings(paths), read_plan(folder / PLAN)
    if {part.plan_sha256 for part in findings} != {plan.sha256}:
        raise AuditError(
            "mixed-plans",
            f"the findings in {folder} are not all of the plan beside them",
            hint="keep one folder per plan",
        )
    report = AuditReport(
        run=plan.run,
        plan_sha256=plan.sha256,
        auditor_key=key.public_hex,
        written_utc=now.isoformat(),
        code_sha256=installed_code_hash(),
        sources={path.name: hash_file(path) for path in paths},
        findings=tuple(findings),
        not_examined=_not_examined(findings),
    )
    page = render_page(report, plan).encode()
    signed = report.model_copy(update={"page_sha256": sha256_hex(page)})
    payload = canonical_json(signed.model_dump(mode="json"))
    write_atomic(out / PAGE, page)
    write_envelope(out / DATA, add_signature(Envelope(PAYLOAD_TYPE, payload), key))
    return signed, out / PAGE, out / DATA


def verify_report(path: Path, auditor_key: str) -> AuditReport:
    """Read a report and check the auditor's signature, and the page beside it.

    Raises:
        AuditError: as ``open_report``, or the page is another one.
    """
    report = open_report(path, auditor_key)
    page = path.with_name(PAGE)
    if not page.exists() or hash_file(page) != report.page_sha256:
        raise AuditError(
            "other-page",
            f"{PAGE} is missing or is not the page that was signed",
            hint="ask the auditor for both files again",
        )
    return report


def render_page(report: AuditReport, plan: Plan) -> str:
    """The page as HTML text; deterministic."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": write_figure, "name": write_name, "verdict": write_verdict}
    environment.filters |= {"scope": write_scope}
    return environment.get_template(TEMPLATE).render(
        report=report,
        plan=plan,
        sections=[_section(method, report.findings) for method in METHODS],
        sites=[entry.site for entry in plan.roster],
        refuted=[finding for finding in report.all_findings if finding.verdict == "fail"],
        epsilons=[row for entry in plan.roster if (row := _epsilons(entry.site, report))],
        limits=LIMITS,
    )


def _not_examined(findings: Sequence[Findings]) -> tuple[Method, ...]:
    examined = {part.method for part in findings if part.verdict != "not-run"}
    return tuple(method for method in METHODS if method not in examined)


def _epsilons(site: str, report: AuditReport) -> dict[str, float | int | str | None]:
    """What the recount and the canaries say of a site's ε, by the names of their figures."""
    figures: dict[str, float | int | str | None] = {}
    for finding in report.all_findings:
        if finding.site == site and finding.method in ("recount", "canary"):
            figures |= finding.figures
    if "epsilon_recounted" not in figures:
        return {}
    proven = [figures.get(name) for name in ("epsilon_steinke", "epsilon_fdp")]
    numbers = [value for value in proven if isinstance(value, float)]
    return figures | {"site": site, "epsilon_proven": max(numbers, default=None)}


def _section(method: Method, parts: Sequence[Findings]) -> MethodSection:
    found = [finding for part in parts if part.method == method for finding in part.findings]
    claims: dict[str, dict[str, Finding]] = {}
    for finding in found:
        claims.setdefault(finding.claim, {})[finding.site] = finding
    return MethodSection(
        method=method,
        meaning=MEANING[method],
        sites=tuple(dict.fromkeys(finding.site for finding in found)),
        claims=tuple(claims.items()),
        blind_to=tuple(dict.fromkeys(each.blind_to for each in found if each.verdict != "not-run")),
    )
