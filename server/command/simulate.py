"""Commands of a data scientist: a federation over one's own tables or films, and tables to try it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from server.command.options import CohortOption, ConfigsOption
from shared.machine.terminal import JsonOption, command, show_facts, show_json, show_table, when_stopped

simulate_app = typer.Typer()


@simulate_app.command()
@command
@when_stopped("what was done is kept in {folder}; the same command goes on there")
def simulate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="SITE=FILE of each hospital (a table, or a folder with clinical.csv and films), or "
            "one table beside --split-by; and settings, e.g. privacy.epsilon=1."
        ),
    ] = None,
    cohort: CohortOption = None,
    configs: ConfigsOption = None,
    external: Annotated[
        list[str] | None,
        typer.Option(
            help="SITE=FILE of a hospital that never trains, or a value of --split-by; repeat it."
        ),
    ] = None,
    split_by: Annotated[
        str | None, typer.Option(help="Column of the one table whose values are the hospitals.")
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(
            help="Column that says who trains (train) and who is held out (internal, or test)."
        ),
    ] = None,
    lock_date: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Patients who came after this day are kept for a prospective validation.",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Divisions of the patients; more than one shows the spread.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Draws the divisions, never noise.")] = 1,
    folder: Annotated[
        Path, typer.Option(help="Where everything is written; the same command goes on there.")
    ] = Path("simulation"),
    as_json: JsonOption = False,
) -> None:
    """Simulate a federation of your own tables or films: alone, pooled and federated, with a report."""
    from server.report.terminal import table_for_terminal
    from server.simulation.page import tables_for_terminal
    from server.simulation.request import request_of
    from server.simulation.simulate import run_request

    request, problems = request_of(
        [*(words or []), *([f"cohort.split.column={split_column}"] if split_column else [])],
        external=external or [],
        split_by=split_by,
        cohort=cohort,
        configs=configs,
        lock_date=lock_date.date() if lock_date else None,
        seed=seed,
        repeats=repeats,
    )
    found = run_request(request, folder, problems=problems)
    if as_json:
        spread = [row.model_dump(mode="json") for row in found.comparison.spread()]
        comparison = found.comparison.model_dump(mode="json") | {"spread": spread}
        results = found.results.model_dump(mode="json")
        show_json({"comparison": comparison, "results": results, "files": found.files})
        return
    for table in table_for_terminal(found.results):
        show_table(table.title, table.columns, table.rows)
    for arms in tables_for_terminal(found.comparison):
        show_table(arms.title, arms.columns, arms.rows)
    show_facts("", found.files)


@simulate_app.command()
@command
def example(
    folder: Annotated[Path, typer.Argument(help="Where the tables are written.")] = Path("example"),
    seed: Annotated[int, typer.Option(help="Draws the synthetic patients.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write tables of four synthetic hospitals, to try `simulate` and `osteofed-site ingest` with."""
    from server.simulation.example import COHORT, write_example

    tables = write_example(folder, seed=seed)
    facts: dict[str, object] = {name: str(path) for name, path in tables.items()}
    facts["cohort"] = COHORT
    show_json(facts) if as_json else show_facts("synthetic tables, each with NAME.profile.yaml", facts)
