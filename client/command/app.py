"""The hospital's command, ``osteofed-site``: every verb opens the site folder and does one thing.

Importing it loads neither torch nor pydicom, so that ``--help`` is quick.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.intake import intake_app
from client.command.options import By, Folder
from client.command.people import people_app
from client.command.plan import plan_app
from client.command.trial import trial_app
from shared.machine.terminal import JsonOption, command, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.gate.ledger import Ledger
    from client.site.folder import Site

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
    help="A hospital's side of a federation. Films, rows and identities never leave its folder.",
)
ledger_app = typer.Typer(no_args_is_help=True, help="Every touch of a patient, for life.")
app.add_typer(ledger_app, name="ledger")
app.add_typer(intake_app)
app.add_typer(plan_app)
app.add_typer(trial_app)
app.add_typer(people_app)


@app.command()
@command
def init(
    name: Annotated[str, typer.Argument(help="Site name: lower-case letters, digits, dashes.")],
    declared_patients: Annotated[
        int, typer.Option("--declared-patients", help="Training patients, as published; a bucket.")
    ],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make keys, a policy template, site.yaml and a join request."""
    from client.site.folder import create_site
    from client.site.profile import SiteProfile

    request = create_site(folder, name=name, declared_patients=declared_patients, profile=SiteProfile())
    facts: dict[str, object] = {
        "join request": str(request),
        "edit next": f"{folder / 'site.yaml'}, {folder / 'policy.yaml'}",
    }
    show_json(facts) if as_json else show_facts(f"site {name}", facts)


@app.command()
@command
def join(
    enrolment: Annotated[Path, typer.Argument(help="The coordinator's answer.")],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Trust the coordinator named in its enrolment file."""
    from client.site.folder import join_federation

    site = join_federation(folder, enrolment)
    facts: dict[str, object] = {"site": site.name, "coordinator key": site.coordinator_key}
    show_json(facts) if as_json else show_facts("joined", facts)


@app.command()
@command
def start(
    superlink: Annotated[str, typer.Option(help="host:port of the coordinator's server.")],
    root_certificate: Annotated[Path, typer.Option(help="The federation's CA, a PEM file.")],
    auth_key: Annotated[Path, typer.Option(help="Private key of this node, a PEM file.")],
    health: Annotated[
        str,
        typer.Option(envvar="OSTEOFED_HEALTH", help="host:port that `doctor --health` may ask."),
    ] = "",
    folder: Folder = Path(),
) -> None:
    """Connect to the coordinator and answer until stopped; acts only on approved plans."""
    from client.node.supernode import serve

    serve(
        folder.resolve(),
        superlink=superlink,
        root_certificate=root_certificate,
        auth_key=auth_key,
        health=health,
    )


@app.command()
@command
def outbox(folder: Folder = Path(), as_json: JsonOption = False) -> None:
    """Show every message that has left, its class, its bytes and its cost."""
    from client.gate.outbox import Outbox
    from client.site.folder import open_site

    site = open_site(folder)
    departures = Outbox(site.folder / "outbox", site.folder / "replies").show()
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


@app.command()
@command
def statement(
    run: Annotated[str, typer.Argument(help="The run's name, or its plan's hash.")],
    out: Annotated[Path, typer.Option(help="File to write; the readable page lies beside it.")] = Path(
        "statement.json"
    ),
    findings: Annotated[
        list[Path] | None, typer.Option(help="An audit's findings to repeat in it.", exists=True)
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Sign what was promised in a run, how, what left and at what cost, to be verified offline."""
    from client.gate.statement import state_run
    from client.site.folder import open_site

    predicate = state_run(open_site(folder), run, out, findings=findings or []).predicate
    if as_json:
        show_json(predicate.model_dump(mode="json") | {"written": str(out)})
        return
    facts: dict[str, object] = {
        "guarantee": predicate.guarantee,
        "run epsilon": predicate.cost.run_epsilon,
        "lifetime epsilon": predicate.lifetime.epsilon,
        "unit, adjacency, delta": f"patient, add/remove, {predicate.cost.delta:g}",
        "signed": str(out),
        "to read": str(out.with_suffix(".txt")),
    }
    show_facts(f"privacy statement of {predicate.site}, run {predicate.run}", facts)


@app.command()
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


@app.command("rotate-key")
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


@app.command()
@command
def predict(
    release: Annotated[Path, typer.Argument(help="A release's folder.", exists=True, file_okay=False)],
    films: Annotated[
        list[Path], typer.Argument(help="DICOM files of one exam.", exists=True, dir_okay=False)
    ],
    value: Annotated[
        list[str] | None, typer.Option("--value", "-v", help="A clinical value, name=value.")
    ] = None,
    heat_map: Annotated[
        Path | None, typer.Option(help="PNG file to write; by default one in the site's readings/.")
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Read one exam with a release, here; nothing leaves. Not a medical device."""
    from client.reading.predict import draw_heat_maps
    from client.reading.predict import predict as read_exam
    from client.site.folder import open_site
    from shared.contract.release import read_release

    site = open_site(folder)
    pairs = [item.partition("=") for item in value or []]
    reading = read_exam(
        site,
        read_release(release, coordinator_key=site.coordinator_key),
        films,
        {name: text for name, _, text in pairs},
    )
    drawn = draw_heat_maps(site, reading, heat_map)
    if as_json:
        figures = {"value": reading.value, "unit": reading.unit, "t_score": reading.t_score}
        show_json(figures | {"class": reading.class_name, "heat_map": drawn and str(drawn)})
        return
    show_facts("reading, not a diagnosis", reading.facts())
    if drawn:
        show_facts("", {"heat map, for this hospital only": drawn})


def _open_ledger(folder: Path) -> tuple[Site, Ledger]:
    from client.gate.ledger import require_ledger
    from client.site.folder import open_site

    site = open_site(folder)
    return site, require_ledger(site)
