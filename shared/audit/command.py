"""The auditor's command, ``osteofed-auditor``: each verb reads named files and writes one result.

Exit codes: 0 nothing examined is refuted, 1 the command could not be done, 3 a claim is refuted, 4 no
claim could be examined. A report that some methods have no part in says that it is partial; its code is
that of what was examined. Importing it loads neither torch nor numpy, so that ``--help`` is quick.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import AuditError
from shared.machine.terminal import (
    JsonOption,
    command,
    say,
    show_facts,
    show_json,
    show_table,
    show_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.audit.finding import Finding, Method
    from shared.contract.plan import Plan

EXIT_CODES = {"pass": 0, "fail": 3, "not-run": 4}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
    help="Checks a federation's privacy claims from files alone; trusts neither side.",
)

PlanFile = Annotated[
    Path, typer.Argument(help="The coordinator's plan.json.", exists=True, dir_okay=False)
]
Out = Annotated[Path, typer.Option(help="Folder for findings; one file per method.")]
CoordinatorKey = Annotated[
    str | None,
    typer.Option(help="The coordinator's public key, as you know it; without it the plan's own."),
]
SiteKeys = Annotated[
    list[str] | None,
    typer.Option("--site-key", help="SITE=HEX from enrolment; without it the roster's. Repeat it."),
]
Ledgers = Annotated[
    list[Path], typer.Option("--ledger", help="A site's ledger export. Repeat it.", exists=True)
]
Registers = Annotated[
    list[Path], typer.Option("--register", help="A site's audit register. Repeat it.", exists=True)
]
EncoderFile = Annotated[
    Path | None,
    typer.Option("--encoder", help="Weights of an encoder that learns, where the plan names a file."),
]
_FINDINGS = Path("findings")


@app.command()
@command
def init(
    key: Annotated[Path, typer.Argument(help="Key file to make.")] = Path("auditor.pem"),
    as_json: JsonOption = False,
) -> None:
    """Make the auditor's signing key; tell the public key to whoever will read a report."""
    from shared.signing.keys import create_key

    if key.exists():
        raise AuditError(
            "key-exists", f"{key.name} exists and is not overwritten", hint="name another file"
        )
    facts: dict[str, object] = {"public key": create_key(key).public_hex, "written": str(key)}
    show_json(facts) if as_json else show_facts("auditor", facts)


@app.command()
@command
def recount(
    plan: PlanFile,
    ledger: Ledgers,
    statement: Annotated[
        list[Path] | None, typer.Option(help="A site's statement.json. Repeat it.", exists=True)
    ] = None,
    outbox: Annotated[
        list[str] | None,
        typer.Option(help="SITE=FILE with the output of `osteofed-site outbox --json`. Repeat it."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The coordinator's run folder.", exists=True, file_okay=False)
    ] = None,
    release: Annotated[
        Path | None, typer.Option(help="A release's folder; else the run's.", exists=True)
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            "--report", help="An audit-report.json that a statement repeats. Repeat it.", exists=True
        ),
    ] = None,
    coordinator_key: CoordinatorKey = None,
    site_key: SiteKeys = None,
    out: Out = _FINDINGS,
    as_json: JsonOption = False,
) -> None:
    """Recompute every claim from exported files: chain, charges, epsilon twice, releases, statement."""
    from shared.audit.recount.claims import recount_findings
    from shared.audit.recount.evidence import gather_evidence

    read = _read_plan(plan, coordinator_key)
    evidence = gather_evidence(
        read,
        ledgers=ledger,
        statements=statement or [],
        outboxes={site: Path(file) for site, file in _pairs(outbox).items()},
        run_folder=run,
        release=release,
        site_keys=_pairs(site_key),
        reports=earlier or [],
    )
    _finish("recount", plan, read, recount_findings(read, evidence), out, as_json=as_json)


@app.command()
@command
def conformance(
    plan: PlanFile,
    register: Registers,
    ledger: Ledgers,
    coordinator_key: CoordinatorKey = None,
    site_key: SiteKeys = None,
    encoder: EncoderFile = None,
    out: Out = _FINDINGS,
    as_json: JsonOption = False,
) -> None:
    """Test a run's register, and the installed code: noise, clip norm and sampling as in the plan?"""
    from shared.audit.attack.answers import answer_findings
    from shared.audit.attack.company import company_findings
    from shared.audit.canary.conformance import COMPLETE, conformance_findings, shared_noise_findings
    from shared.audit.canary.records import missing_findings, read_records

    read = _read_plan(plan, coordinator_key)
    records = read_records(read, registers=register, ledgers=ledger, site_keys=_pairs(site_key))
    findings = shared_noise_findings([record.register for record in records])
    for record in records:
        findings += conformance_findings(record.register, read, record.ledger.rows)
    findings += missing_findings(read, records, "conformance", claim=COMPLETE)
    findings += company_findings(read, encoder) + answer_findings(read, encoder)
    _finish("conformance", plan, read, findings, out, as_json=as_json)


@app.command()
@command
def canary(
    plan: PlanFile,
    register: Registers,
    ledger: Ledgers,
    coordinator_key: CoordinatorKey = None,
    site_key: SiteKeys = None,
    out: Out = _FINDINGS,
    as_json: JsonOption = False,
) -> None:
    """Bound epsilon from below with the canaries of one run; refutes a claim that is too small."""
    from shared.audit.canary.one_run import canary_findings
    from shared.audit.canary.records import COMMITTED, audited_stage, missing_findings, read_records

    read = _read_plan(plan, coordinator_key)
    records = read_records(read, registers=register, ledgers=ledger, site_keys=_pairs(site_key))
    findings: list[Finding] = []
    for record in records:
        stage = audited_stage(read)
        findings.append(record.judge_commitment("canary"))
        if findings[-1].verdict == "pass":
            findings += canary_findings(
                record.register,
                claimed_epsilon=record.claimed_epsilon,
                delta=read.settings.delta,
                clip_norm=stage.clip_norm,
                noise_multiplier=stage.noise_multiplier,
                sample_rate=stage.sample_rate,
            )
    findings += missing_findings(read, records, "canary", claim=COMMITTED)
    _finish("canary", plan, read, findings, out, as_json=as_json)


@app.command()
@command
def membership(
    plan: PlanFile,
    references: Annotated[int, typer.Option(help="Models to compare with; even, at least 16.")] = 16,
    seed: Annotated[int, typer.Option(help="Draws public patients and halves, never noise.")] = 1,
    encoder: EncoderFile = None,
    coordinator_key: CoordinatorKey = None,
    out: Out = _FINDINGS,
    as_json: JsonOption = False,
) -> None:
    """Rehearse the plan on public random patients and guess who was in training."""
    from shared.audit.attack.rehearsal import rehearsal_findings

    read = _read_plan(plan, coordinator_key)
    say(f"training {2 * references + 2} models on public patients; minutes for a small head")
    findings = rehearsal_findings(read, n_references=references, seed=seed, encoder_file=encoder)
    _finish("membership", plan, read, findings, out, as_json=as_json)


@app.command()
@command
def inversion(
    plan: PlanFile,
    encoder: EncoderFile = None,
    coordinator_key: CoordinatorKey = None,
    out: Out = _FINDINGS,
    as_json: JsonOption = False,
) -> None:
    """Try to read a public patient back from an update made as the plan says."""
    from shared.audit.attack.inversion import inversion_findings

    read = _read_plan(plan, coordinator_key)
    _finish("inversion", plan, read, inversion_findings(read, encoder), out, as_json=as_json)


@app.command()
@command
def report(
    folder: Annotated[Path, typer.Argument(help="Folder with findings.", exists=True)],
    key: Annotated[Path, typer.Option(help="The auditor's key file.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("audit"),
    as_json: JsonOption = False,
) -> None:
    """Write one page for people and one signed JSON from all findings in a folder."""
    from shared.audit.page import make_report
    from shared.audit.wording import write_scope
    from shared.signing.keys import load_key

    made, page, data = make_report(folder, out, key=load_key(key), now=datetime.now(UTC))
    facts: dict[str, object] = {
        "verdict": made.verdict,
        "scope": write_scope(made.not_examined),
        "claims not refuted": made.count("pass"),
        "claims refuted": made.count("fail"),
        "claims not examined": made.count("not-run"),
        "page": str(page),
        "signed": str(data),
        "auditor's key": made.auditor_key,
    }
    show_json(facts) if as_json else show_facts(f"audit of run {made.run}", facts)
    raise typer.Exit(EXIT_CODES[made.verdict])


@app.command()
@command
def verify(
    file: Annotated[Path, typer.Argument(help="audit-report.json or statement.json.", exists=True)],
    key: Annotated[str, typer.Option(help="Public key that must have signed: auditor's or site's.")],
    coordinator_key: Annotated[
        str | None, typer.Option(help="Public key that must have signed a statement too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the signature of a report and its page, or of a site's statement, and show what it says."""
    from shared.audit.page import DATA, verify_report
    from shared.audit.wording import write_scope
    from shared.privacy.statement import verify_statement
    from shared.privacy.statement_text import statement_text

    if file.name == DATA:
        checked = verify_report(file, key)
        facts: dict[str, object] = {
            "run": checked.run,
            "verdict": checked.verdict,
            "scope": write_scope(checked.not_examined),
            "signed by": key,
        }
        show_json(facts) if as_json else show_facts("genuine report", facts)
        return
    predicate = verify_statement(file, key, coordinator_key).predicate
    if as_json:
        show_json(predicate.model_dump(mode="json"))
        return
    say(f"genuine statement, signed by {key[:16]}")
    show_text(statement_text(predicate))


def _read_plan(path: Path, coordinator_key: str | None) -> Plan:
    from shared.contract.plan import read_plan

    plan = read_plan(path, coordinator_key=coordinator_key)
    if coordinator_key is None:
        say(f"coordinator's key as the plan names it: {plan.coordinator_key}; compare it elsewhere")
    return plan


def _pairs(given: Sequence[str] | None) -> dict[str, str]:
    """SITE=VALUE options by site."""
    pairs = [item.partition("=") for item in given or []]
    for site, sign, value in pairs:
        if not (site and sign and value):
            raise AuditError(
                "not-a-pair", f"must be SITE=VALUE, not {site}{sign}{value}", hint="see --help"
            )
    return {site: value for site, _, value in pairs}


def _finish(
    method: Method,
    plan_file: Path,
    plan: Plan,
    findings: Sequence[Finding],
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Write and show one method's findings, with the plan beside them, and exit by the verdict."""
    from shared.audit.finding import Findings, write_findings

    made = Findings(method=method, plan_sha256=plan.sha256, findings=tuple(findings))
    write_findings(out / f"{method}.json", made)
    if plan_file.resolve() != (out / "plan.json").resolve():
        shutil.copyfile(plan_file, out / "plan.json")
    if as_json:
        show_json(made.model_dump(mode="json") | {"verdict": made.verdict})
    else:
        show_table(
            f"{method} of run {plan.run}",
            ("site", "verdict", "claim", "because"),
            [(each.site, each.verdict, each.claim, each.because) for each in findings],
        )
        show_facts("", {"verdict": made.verdict, "written": out / f"{method}.json"})
    raise typer.Exit(EXIT_CODES[made.verdict])


if __name__ == "__main__":
    app()
