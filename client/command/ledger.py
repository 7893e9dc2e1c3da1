"""Commands about what was charged and what has left: ledger, outbox, statement, register, key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import By, Folder
from shared.machine.terminal import JsonOption, command, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.gate.ledger import Ledger
    from client.site.folder import Site
    from shared.privacy.statement import PrivacyPredicate

gate_app = typer.Typer()
ledger_app = typer.Typer(no_args_is_help=True, help="Every touch of a patient, for life.")
gate_app.add_typer(ledger_app, name="ledger")


@gate_app.command()
@command
def outbox(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show every message that has left, its class, its bytes and its cost."""
    from client.gate.outbox import Outbox
    from client.site.folder import open_site

    site = open_site(folder)
    log = Outbox(site.folder / "outbox", site.folder / "replies")
    departures = log.show()
    if as_json:
        show_json([asdict(departure) for departure in departures])
        return
    show_table(
        f"what has left {site.name}",
        ("utc", "channel", "class", "bytes", "epsilon", "sha256"),
        [
            (
                departure.utc[:19],
                departure.channel,
                departure.release_class,
                departure.n_bytes,
                departure.epsilon,
                departure.payload_sha256[:12],
            )
            for departure in departures
        ],
    )
    if further := log.further():
        show_facts("further ones, more than a few a minute, that cost nothing", further)


@ledger_app.command("show")
@command
def ledger_show(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show every row, and what the dearest patient has spent and has left."""
    site, ledger = _open_ledger(folder)
    rows = ledger.show()
    budget = ledger.budget_of_everybody(allowance=site.policy.allowance)
    if as_json:
        show_json({"rows": [asdict(row) for row in rows], "budget": asdict(budget)})
        return
    show_table(
        f"ledger of {site.name}",
        ("row", "utc", "kind", "purpose", "run", "round", "class", "noise", "steps", "outcome"),
        [
            (
                row.index,
                row.utc[:19],
                row.kind,
                row.purpose,
                row.run,
                row.round,
                row.charge_class,
                row.noise_multiplier,
                row.steps,
                row.status,
            )
            for row in rows
        ],
    )
    show_facts(
        "the dearest patient, for life (unit: patient, add/remove adjacency)",
        {
            "epsilon spent": budget.epsilon_spent,
            "epsilon left": budget.epsilon_left,
            "delta": f"{budget.delta:g}",
            "charges without a formal guarantee": budget.n_unprotected,
        },
    )


@ledger_app.command("verify")
@command
def ledger_verify(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Check every row, link, signature and countersignature."""
    site, ledger = _open_ledger(folder)
    head = ledger.verify()
    facts: dict[str, object] = {"rows": head.index + 1, "head": head.sha256, "verdict": "intact"}
    show_json(facts) if as_json else show_facts(f"ledger of {site.name}", facts)


@ledger_app.command("export")
@command
def ledger_export(
    path: Annotated[Path, typer.Argument(help="File to write.")],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write rows and countersignatures for an auditor; member lists stay."""
    from client.gate.export import export_ledger

    site, ledger = _open_ledger(folder)
    export_ledger(site, ledger, path)
    facts: dict[str, object] = {"site": site.name, "written": str(path)}
    show_json(facts) if as_json else show_facts("ledger exported", facts)


@gate_app.command()
@command
def statement(
    run: Annotated[str, typer.Argument(help="The run's name, or its plan's hash.")],
    out: Annotated[Path, typer.Option(help="File to write; the readable page lies beside it.")] = Path(
        "statement.json"
    ),
    audit: Annotated[
        Path | None,
        typer.Option(help="A signed audit-report.json, to repeat its verdicts.", exists=True),
    ] = None,
    auditor_key: Annotated[
        str, typer.Option(help="Public key that must have signed it, as the auditor told it.")
    ] = "",
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Sign what was promised in a run, how, what left and at what cost, to be verified offline."""
    from client.gate.statement import SignedAudit, state_run
    from client.site.folder import open_site

    signed = SignedAudit(audit, auditor_key) if audit else None
    predicate = state_run(open_site(folder), run, out, audit=signed).predicate
    if as_json:
        show_json(predicate.model_dump(mode="json") | {"written": str(out)})
        return
    facts: dict[str, object] = {
        "guarantee": predicate.guarantee,
        **_stated_epsilon(predicate),
        "signed": str(out),
        "to read": str(out.with_suffix(".txt")),
    }
    show_facts(f"privacy statement of {predicate.site}, run {predicate.run}", facts)


def _stated_epsilon(predicate: PrivacyPredicate) -> dict[str, object]:
    """ε of a statement with all that it needs beside it; nothing where nothing was noised."""
    from shared.privacy.accountant import NO_ACCOUNTANT

    if predicate.cost.accountant == NO_ACCOUNTANT and not predicate.lifetime.epsilon:
        return {}
    return {
        "run epsilon": predicate.cost.run_epsilon,
        "lifetime epsilon": predicate.lifetime.epsilon,
        "unit, adjacency, delta": f"patient, add/remove, {predicate.cost.delta:g}",
    }


@gate_app.command()
@command
def register(
    run: Annotated[str, typer.Argument(help="The run's name, or its plan's hash.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("register.npz"),
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a run's audit register for an auditor: canaries, coins and their noised sums."""
    from client.gate.register import export_register
    from client.gate.statement import find_plan

    site, ledger = _open_ledger(folder)
    record = export_register(site, find_plan(site, ledger.show(), run), out)
    facts: dict[str, object] = {
        "site": site.name,
        "canaries": record.coins.size,
        "steps": len(record.rounds),
        "commitment": record.commitment,
        "written": str(out),
    }
    show_json(facts) if as_json else show_facts("audit register exported", facts)


@gate_app.command("rotate-key")
@command
def rotate_key(by: By, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Replace the signing key; every approval ends, and the coordinator needs the notice."""
    from client.gate.key_rotation import rotate_key as replace_key
    from client.site.folder import open_site

    site = open_site(folder)
    rotation, notice = replace_key(site, by=by)
    facts: dict[str, object] = {
        "site": site.name,
        "old key": rotation.old_key,
        "new key": rotation.new_key,
        "notice for the coordinator": str(notice),
    }
    show_json(facts) if as_json else show_facts("signing key replaced", facts)


@gate_app.command("rotate-node-key")
@command
def rotate_node_key(by: By, folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Replace the key by which `start` reaches the coordinator; approvals stay."""
    from client.site.folder import open_site
    from client.site.node_key import rotate_node_key as replace_key

    site = open_site(folder)
    notice, path = replace_key(site, by=by)
    facts: dict[str, object] = {
        "site": site.name,
        "node key": notice.node_key,
        "notice for the coordinator": str(path),
    }
    show_json(facts) if as_json else show_facts("node key replaced", facts)


def _open_ledger(folder: Path) -> tuple[Site, Ledger]:
    from client.gate.ledger import require_ledger
    from client.site.folder import open_site

    site = open_site(folder)
    return site, require_ledger(site)
