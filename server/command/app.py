"""The coordinator's command, ``osteofed-coordinator``: plan, launch, validate, lock, report.

Importing it loads neither torch nor flwr, so that ``--help`` is quick.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.errors import RunError
from shared.machine.terminal import (
    JsonOption,
    Overrides,
    command,
    progress,
    say,
    show_facts,
    show_json,
    show_table,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
    help="Plans and runs a federation of hospitals. Sees weights and noised tables, never patients.",
)

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="OSTEOFED_COORDINATOR", help="The coordinator's folder.")
]
Run = Annotated[str, typer.Argument(help="Name of the run.")]
Sites = Annotated[
    list[Path] | None, typer.Option("--site", help="A site's folder on this machine; repeat it.")
]
Role = Literal["training", "external"]
_HOME = Path("coordinator")
_AUDITED_CANARIES = 1000


@app.command()
@command
def init(home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Make the coordinator's folder and signing key; an existing one is kept."""
    from server.federation.folder import create_home

    made = create_home(home)
    facts: dict[str, object] = {"home": str(made.folder), "public key": made.key().public_hex}
    show_json(facts) if as_json else show_facts("coordinator", facts)


@app.command()
@command
def enrol(
    request: Annotated[Path, typer.Argument(help="A site's join-request.json.")],
    role: Annotated[Role, typer.Option(help="training or external.")] = "training",
    optional: Annotated[bool, typer.Option(help="A run may start without this site.")] = False,
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Enter a site's key into the federation; hand the written file back to the site."""
    from server.federation.folder import Home
    from server.federation.folder import enrol as enter

    answer = enter(Home(home), request, role=role, is_required=not optional, now=datetime.now(UTC))
    facts: dict[str, object] = {"give to the site": str(answer), "role": role}
    show_json(facts) if as_json else show_facts("enrolled", facts)


@app.command("accept-key")
@command
def accept_key(
    notice: Annotated[Path, typer.Argument(help="What `osteofed-site rotate-key` wrote.")],
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Replace a site's enrolled key by the one it has rotated to; then write a new plan."""
    from server.federation.folder import Home
    from server.federation.folder import accept_key as enter

    rotation = enter(Home(home), notice)
    facts: dict[str, object] = {
        "site": rotation.site,
        "former key": rotation.old_key,
        "key": rotation.new_key,
    }
    show_json(facts) if as_json else show_facts("key replaced", facts)


@app.command()
@command
def revoke(
    site: Annotated[str, typer.Argument(help="Name of the site.")],
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Close one site's membership; the others are not touched."""
    from server.federation.folder import Home
    from server.federation.folder import revoke as close

    close(Home(home), site, now=datetime.now(UTC))
    show_json({"revoked": site}) if as_json else show_facts("revoked", {"site": site})


@app.command()
@command
def sites(home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """List the federation's sites."""
    from server.federation.folder import Home

    found = Home(home).sites()
    if as_json:
        show_json([site.model_dump() for site in found])
        return
    show_table(
        "sites",
        ("site", "role", "required", "declared patients", "enrolled", "revoked"),
        [
            (
                site.site,
                site.role,
                "yes" if site.is_required else "no",
                site.declared_patients,
                site.enrolled_utc[:10],
                (site.revoked_utc or "")[:10],
            )
            for site in found
        ],
    )


@app.command()
@command
def plan(
    run: Run,
    overrides: Overrides = None,
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Write, sign and show a plan; nothing runs before each site approves it."""
    from server.federation.compose import compose_settings
    from server.federation.folder import Home
    from server.federation.plan import draft_plan, save_plan
    from server.report.collect import plan_facts

    own = Home(home)
    drafted = draft_plan(
        compose_settings(overrides or []),
        own.active_sites(),
        run=run,
        coordinator_key=own.key().public_hex,
        now=datetime.now(UTC),
    )
    save_plan(own, drafted)
    facts = plan_facts(drafted) | {"file for the sites": str(own.run_folder(run) / "plan.json")}
    if as_json:
        show_json(facts)
        return
    show_facts("", facts)
    show_table(
        "roster",
        ("site", "role", "required", "declared patients", "weight"),
        [
            (
                entry.site,
                entry.role,
                "yes" if entry.is_required else "no",
                entry.declared_patients,
                entry.weight,
            )
            for entry in drafted.roster
        ],
    )


@app.command()
@command
def launch(run: Run, site: Sites = None, home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Train an approved plan to its last round, and make the release."""
    _train(run, site, home, as_json=as_json)


@app.command()
@command
def resume(run: Run, site: Sites = None, home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Go on with a run from its last committed round."""
    _train(run, site, home, as_json=as_json)


@app.command()
@command
def pause(run: Run, home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Stop a run before its next round; `resume` goes on."""
    from server.federation.folder import Home
    from server.run.folder import open_run

    open_run(Home(home).planned_run(run)).pause()
    facts: dict[str, object] = {"run": run, "stops": "before its next round"}
    show_json(facts) if as_json else show_facts("paused", facts)


@app.command()
@command
def status(run: Run, home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Show how far a run is, and what went wrong at which site, as codes."""
    from server.federation.folder import Home
    from server.run.folder import open_run

    store = open_run(Home(home).planned_run(run))
    troubles = [event for event in store.events() if event.code != "round-committed"]
    facts: dict[str, object] = {
        "run": run,
        "plan": store.plan.sha256,
        "committed rounds": f"{store.last_committed().round} "
        f"of {store.plan.settings.federation.rounds}",
        "release": "made" if (store.release_folder / "release.json").exists() else "not yet",
        "locked": "yes" if store.lock_file.exists() else "no",
    }
    if as_json:
        events = [[event.round, event.site, event.code] for event in troubles]
        show_json(facts | {"events": events})
        return
    show_facts("", facts)
    if troubles:
        rows = [(event.round, event.site, event.code) for event in troubles]
        show_table("events", ("round", "site", "code"), rows)


@app.command()
@command
def release(run: Run, home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Show a finished run's release: frozen, hashed, signed."""
    from server.federation.folder import Home
    from server.run.folder import open_run
    from server.run.release import make_release

    own = Home(home)
    store = open_run(own.planned_run(run))
    made = make_release(store, own.key())
    facts: dict[str, object] = {"release": made.sha256, "folder": str(store.release_folder)}
    facts |= made.record.model_dump(exclude={"ledger_heads"})
    show_json(facts) if as_json else show_facts("", facts)


@app.command()
@command
def validate(
    run: Run,
    kind: Annotated[
        Literal["internal", "external", "prospective", "description"],
        typer.Argument(help="Which validation, or who the patients are."),
    ],
    site: Sites = None,
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Measure a release at the sites, or ask who their patients are, through their gates."""
    from server.engines.launch import launch_stage
    from server.federation.folder import Home
    from server.report.collect import collect_results
    from server.report.description import collect_descriptions
    from server.report.terminal import table_for_terminal, table_of_patients
    from server.run.prepare import prepare

    store = prepare(Home(home), run)
    launch_stage(store, kind, site_folders=site_folders(site or []))
    if kind == "description":  # there need be no release yet
        described = collect_descriptions(store)
        if as_json:
            show_json([each.model_dump(mode="json") for each in described])
            return
        patients = table_of_patients(described)
        show_table(patients.title, patients.columns, patients.rows)
        return
    results = collect_results(store)
    if as_json:
        rows = [row for row in results.validation if row.kind == kind]
        show_json([row.model_dump(mode="json") for row in rows])
        return
    table = table_for_terminal(results)[0]
    show_table(table.title, table.columns, [row for row in table.rows if row[0] == kind])


@app.command()
@command
def lock(run: Run, home: HomeOption = _HOME, as_json: JsonOption = False) -> None:
    """Freeze a release for prospective validation: only films acquired from now on count."""
    from server.federation.folder import Home
    from server.run.folder import open_run
    from server.run.release import lock_run

    own = Home(home)
    store = open_run(own.planned_run(run))
    made = lock_run(store, own.key(), now=datetime.now(UTC))
    facts: dict[str, object] = {"lock": made.sha256, "file for the sites": str(store.lock_file)}
    facts |= made.model_dump(mode="json")
    show_json(facts) if as_json else show_facts("", facts)


@app.command()
@command
def report(
    run: Run,
    ledger: Annotated[
        list[Path] | None, typer.Option(help="A site's ledger export; repeat it.")
    ] = None,
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Write report.html and report.json of a run."""
    from server.federation.folder import Home
    from server.report.collect import collect_results
    from server.report.page import write_report
    from server.run.folder import open_run

    store = open_run(Home(home).planned_run(run))
    page, data = write_report(store.folder, collect_results(store, ledgers=ledger or []))
    facts: dict[str, object] = {"report.html": str(page), "report.json": str(data)}
    show_json(facts) if as_json else show_facts("written", facts)


@app.command()
@command
def countersign(
    statement: Annotated[Path, typer.Argument(help="A site's statement.json; signed in place.")],
    home: HomeOption = _HOME,
    as_json: JsonOption = False,
) -> None:
    """Sign a site's privacy statement too, if it fits the run as this coordinator holds it."""
    from server.federation.folder import Home
    from server.run.statements import countersign_site_statement

    own = Home(home)
    signed = countersign_site_statement(own, statement)
    facts: dict[str, object] = {
        "site": signed.predicate.site,
        "run": signed.predicate.run,
        "signed by": own.key().public_hex,
        "releases stated": len(signed.predicate.releases),
        "file": str(statement),
    }
    show_json(facts) if as_json else show_facts("statement countersigned", facts)


@app.command()
@command
def serve(
    host: Annotated[str, typer.Option(help="Inner address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9092,
    name: Annotated[
        list[str] | None, typer.Option(help="A further name or address in the certificate.")
    ] = None,
    home: HomeOption = _HOME,
) -> None:
    """Run the SuperLink (TLS, node keys, SQLite) for hospitals to connect to, until stopped."""
    from server.engines.superlink import serve as run_superlink
    from server.federation.folder import Home

    own = Home(home)
    own.key()
    keys = {site.site: site.node_key for site in own.active_sites()}
    say(f"serving on {host}:{port}; certificates in {home / 'deployment' / 'certificates'}")
    run_superlink(home, host=host, port=port, names=name or [], node_keys=keys)


@app.command()
@command
def demo(
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Draws the synthetic patients, never noise.")] = 1,
    audit: Annotated[
        bool, typer.Option("--audit", help="Train canaries too, and audit the run afterwards.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Play a whole federation of four synthetic hospitals on this machine, from DICOM to a report."""
    from server.demo.play import play_demo
    from server.report.terminal import table_for_terminal

    chosen = [*([f"privacy.canaries={_AUDITED_CANARIES}"] if audit else []), *(overrides or [])]
    results, paths = play_demo(folder, overrides=chosen, seed=seed, is_audited=audit)
    if as_json:
        show_json(results.model_dump(mode="json") | {"files": paths})
        return
    for table in table_for_terminal(results):
        show_table(table.title, table.columns, table.rows)
    show_facts("", paths)


@app.command()
@command
def loopback(
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("loopback"),
    as_json: JsonOption = False,
) -> None:
    """Run a federation deployed for real on loopback: TLS, node keys, one process per party."""
    from server.demo.loopback import play_loopback

    facts = play_loopback(folder, overrides=overrides or [])
    show_json(facts) if as_json else show_facts("deployed federation, torn down again", facts)


@app.command()
@command
def figures(
    folder: Annotated[Path, typer.Option(help="Where raw figures are written.")] = Path("figures"),
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; medians are printed.")] = 3,
    evaluated: Annotated[int, typer.Option(min=300, help="Fresh patients per place.")] = 3000,
    as_json: JsonOption = False,
) -> None:
    """Measure what the README prints: every arm, every head, internal and external."""
    from server.experiments.figures import measure_figures

    with progress("arms") as advance:
        written = measure_figures(folder, n_seeds=seeds, n_evaluated=evaluated, progress=advance)
    facts: dict[str, object] = {name: str(path) for name, path in written.items()}
    show_json(facts) if as_json else show_facts("written", facts)


@app.command()
@command
def pretrain(
    out: Annotated[Path, typer.Option(help="Weights file to write.")] = Path(
        "configs/encoder/tiny.safetensors"
    ),
    films: Annotated[int, typer.Option(min=64, help="Public synthetic films.")] = 10_500,
    seed: Annotated[int, typer.Option(help="Draws films and initial weights.")] = 20_241,
    as_json: JsonOption = False,
) -> None:
    """Make the default encoder on public synthetic films, taught physical quantities, never BMD."""
    from server.encoders.pretrain import pretrain as fit

    with progress("pretraining") as advance:
        sha256 = fit(
            out,
            n_films=films,
            seed=seed,
            progress=lambda _, done, total: advance(done, total),
        )
    facts: dict[str, object] = {"weights": str(out), "sha256": sha256}
    show_json(facts) if as_json else show_facts("put the hash into configs/encoder/tiny.yaml", facts)


@app.command()
@command
def weights(
    checkpoint: Annotated[
        Path, typer.Argument(help="State dict on this machine.", exists=True, dir_okay=False)
    ],
    encoder: Annotated[
        Literal["resnet34", "dinov2_s"], typer.Option(help="Which architecture it is for.")
    ],
    out: Annotated[Path, typer.Option(help="Encoder file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Pack a local checkpoint for use as an encoder; prints its hash for the settings."""
    from server.encoders.pack_weights import pack_checkpoint

    sha256 = pack_checkpoint(checkpoint, out, encoder=encoder)
    facts: dict[str, object] = {
        "settings": f"encoder={encoder} encoder.weights={out.resolve()} encoder.sha256={sha256}"
    }
    show_json(facts) if as_json else show_facts("packed", facts)


def site_folders(paths: list[Path]) -> dict[str, Path]:
    """Site folders on this machine by the name in their ``site.yaml``.

    Raises:
        RunError: a folder is not a site's.
    """
    import yaml

    try:
        settings = [yaml.safe_load((path / "site.yaml").read_bytes()) for path in paths]
        names = [str(content["site"]) for content in settings]
    except (OSError, TypeError, KeyError, yaml.YAMLError) as error:
        raise RunError(
            "no-site",
            f"a folder given with --site is not a site's: {type(error).__name__}",
            hint="name folders that `osteofed-site init` made",
        ) from None
    return dict(zip(names, (path.resolve() for path in paths), strict=True))


def _train(run: str, site: list[Path] | None, home: Path, *, as_json: bool) -> None:
    from server.engines.launch import launch_stage
    from server.federation.folder import Home
    from server.run.prepare import prepare
    from server.run.release import make_release

    own = Home(home)
    store = prepare(own, run)
    say(f"run {run}: {store.last_committed().round} rounds committed")
    launch_stage(store, "train", site_folders=site_folders(site or []))
    made = make_release(store, own.key())
    facts: dict[str, object] = {
        "rounds": store.last_committed().round,
        "release": made.sha256,
        "folder": str(store.release_folder),
    }
    show_json(facts) if as_json else show_facts(f"run {run} is finished", facts)
