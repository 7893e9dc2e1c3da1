"""Commands of a sweep: several models on the same patients under one price."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from server.command.options import (
    HOME,
    CohortOption,
    ConfigsOption,
    HomeOption,
    Sites,
    ValidUntil,
    last_day,
)
from server.command.runs import site_folders
from shared.machine.terminal import (
    JsonOption,
    Overrides,
    command,
    say,
    show_facts,
    show_json,
    show_table,
    when_stopped,
)

sweep_app = typer.Typer(help="Several models on the same patients under one price.")
Name = Annotated[str, typer.Argument(help="Name of the sweep.")]


@sweep_app.command()
@command
def plan(
    name: Name,
    file: Annotated[str, typer.Argument(help="A sweep's YAML file, or the name of a shipped one.")],
    overrides: Overrides = None,
    cohort: CohortOption = None,
    configs: ConfigsOption = None,
    valid_until: ValidUntil = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write, sign and show a plan for each arm, and what all of them cost a patient together.

    The ε of the settings is that of the whole sweep; each of n arms gets that of μ/√n.
    """
    from server.federation.folder import Home
    from server.federation.sweep import compose_arms, draft_sweep, read_sweep_file, save_sweep
    from server.report.expected import expected_tables
    from shared.privacy.sweep_text import ARM_COLUMNS, PAID, PAID_COLUMNS, arm_rows, paid_rows

    own = Home(home)
    arms = compose_arms(read_sweep_file(file), overrides or [], cohort=cohort, own=configs)
    signed = draft_sweep(
        arms,
        own.active_sites(),
        name=name,
        coordinator_key=own.key().public_hex,
        now=datetime.now(UTC),
        valid_until=last_day(valid_until),
    )
    path = save_sweep(own, signed)
    facts: dict[str, object] = {
        "sweep": signed.sweep.sha256,
        "short code, to tell the hospitals": signed.sweep.short_code,
        "valid until": signed.plans[0].valid_until,
        "arms": len(signed.plans),
        "accountant": signed.sweep.predicted.accountant,
        "delta": signed.sweep.predicted.delta,
        "file for the sites": str(path),
    }
    if as_json:
        plans = [dict(zip(ARM_COLUMNS, row, strict=True)) for row in arm_rows(signed)]
        groups = [dict(zip(PAID_COLUMNS, row, strict=True)) for row in paid_rows(signed)]
        show_json(facts | {"plans": plans, "groups": groups})
        return
    show_facts(f"sweep {name}", facts)
    show_table("arms, in the order in which they are played", ARM_COLUMNS, arm_rows(signed))
    show_table(PAID, PAID_COLUMNS, paid_rows(signed))
    # an arm's tables have a share of the price, and may show nothing
    for title, columns, rows in expected_tables(signed.plans[0]):
        show_table(f"of one arm: {title}", columns, rows)
    say(
        "choosing among models on public films, and training one here, costs one run: that run could "
        "have all of the last column"
    )


@sweep_app.command()
@command
@when_stopped("every committed round is kept; `osteofed-coordinator sweep launch {name}` goes on")
def launch(
    name: Name, site: Sites = None, home: HomeOption = HOME, as_json: JsonOption = False
) -> None:
    """Train, release and measure every arm in order; goes on with the first that is not done."""
    from server.engines.sweep import play_sweep
    from server.federation.folder import Home

    stores = play_sweep(Home(home), name, site_folders=site_folders(site or []))
    facts: dict[str, object] = {store.plan.run: str(store.release_folder) for store in stores}
    show_json(facts) if as_json else show_facts(f"sweep {name} is finished", facts)


@sweep_app.command()
@command
def report(name: Name, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show the arms beside each other and what the best of them is worth; write sweep.html."""
    from server.engines.sweep import finished_runs
    from server.federation.folder import Home
    from server.federation.sweep import planned_sweep, sweep_folder
    from server.report.collect import collect_results
    from server.report.sweep import OPTIMISM, collect_sweep, sweep_tables, write_sweep_page

    own = Home(home)
    signed = planned_sweep(own, name)
    runs = finished_runs(own, signed)
    results = collect_sweep(signed, [collect_results(store) for store in runs])
    written = write_sweep_page(sweep_folder(own, name), results, signed)
    if as_json:
        show_json(results.model_dump(mode="json") | {"sweep.html": str(written.page)})
        return
    for table in sweep_tables(results, signed):
        show_table(table.title, table.columns, table.rows)
    say(OPTIMISM)
    show_facts("written", {"sweep.html": str(written.page), "results.json": str(written.data)})
