"""Commands of a run: plan, train, pause, stop, look, release."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.command.federation import say_what_ends
from server.command.options import (
    HOME,
    CohortOption,
    ConfigsOption,
    HomeOption,
    Run,
    Sites,
    ValidUntil,
    last_day,
)
from shared.errors import PlanError, RunError
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

if TYPE_CHECKING:
    from server.federation.folder import Home
    from shared.contract.plan import Plan
    from shared.contract.settings import Settings

runs_app = typer.Typer()
_GOES_ON = (
    "every committed round of run {run} is kept; `osteofed-coordinator resume {run}` goes on, with the "
    "same --site and --home, once nobody plays it"
)


@runs_app.command()
@command
def plan(
    run: Run,
    overrides: Overrides = None,
    cohort: CohortOption = None,
    configs: ConfigsOption = None,
    release: Annotated[
        str | None,
        typer.Option(help="A run whose release is measured at sites enrolled now; nothing is trained."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="With --release: what a table costs a patient.", min=0.01, max=50),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="With --release: a site that is asked; repeat it.")
    ] = None,
    valid_until: ValidUntil = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write, sign and show a plan; nothing runs before each site approves it."""
    from server.federation.folder import Home
    from server.federation.measured import read_measured
    from server.federation.plan import save_plan
    from server.report.expected import (
        FIGURE_COLUMNS,
        expected_tables,
        figure_rows,
        further_columns,
        further_rows,
    )
    from server.report.plan_facts import plan_facts
    from server.report.schedules import SCHEDULE_COLUMNS, SCHEDULES_TITLE, schedule_rows
    from shared.privacy.stage_text import GROUP_COLUMNS, STAGE_COLUMNS, group_rows, stage_rows

    own, until = Home(home), last_day(valid_until)
    schedules: list[tuple[str, ...]] = []
    if release is None:
        settings = _settings_of_training(overrides or [], cohort, configs, of_release=epsilon or only)
        drafted = _draft_training(own, run, settings, valid_until=until)
        schedules = schedule_rows(settings, drafted, read_measured())
    else:
        of_training = overrides or cohort or configs
        drafted = _draft_validation(
            own,
            run,
            release,
            epsilon=epsilon,
            only=only or [],
            of_training=of_training,
            valid_until=until,
        )
    save_plan(own, drafted)
    facts = plan_facts(drafted) | {"file for the sites": str(own.run_folder(run) / "plan.json")}
    stages, groups = stage_rows(drafted), group_rows(drafted)
    if as_json:
        tables = {
            "stages": [dict(zip(STAGE_COLUMNS, row, strict=True)) for row in stages],
            "groups": [dict(zip(GROUP_COLUMNS, row, strict=True)) for row in groups],
            "figures": [dict(zip(FIGURE_COLUMNS, row, strict=True)) for row in figure_rows(drafted)],
            "further figures": [
                dict(zip(further_columns(drafted), row, strict=True)) for row in further_rows(drafted)
            ],
            "schedules": [dict(zip(SCHEDULE_COLUMNS, row, strict=True)) for row in schedules],
        }
        show_json(facts | tables)
        return
    show_facts("", facts)
    show_table("stages", STAGE_COLUMNS, stages)
    show_table("what a patient pays", GROUP_COLUMNS, groups)
    for title, columns, rows in expected_tables(drafted):
        show_table(title, columns, rows)
    if schedules:
        show_table(SCHEDULES_TITLE, SCHEDULE_COLUMNS, schedules)
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


def _settings_of_training(
    overrides: list[str], cohort: str | None, configs: Path | None, *, of_release: object
) -> Settings:
    from server.federation.compose import compose_followed

    if of_release:
        raise PlanError(
            "needs-release",
            "--epsilon and --only belong to a plan that measures a release",
            hint="add --release RUN; the settings of a training are overrides, privacy.epsilon=2",
        )
    settings, made = compose_followed(overrides, cohort=cohort, own=configs)
    if made:
        say(f"settings that follow from the cohort's file: {' '.join(made)}")
    return settings


def _draft_training(own: Home, run: str, settings: Settings, *, valid_until: date) -> Plan:
    from server.federation.plan import draft_plan

    return draft_plan(
        settings,
        own.active_sites(),
        run=run,
        coordinator_key=own.key().public_hex,
        now=datetime.now(UTC),
        valid_until=valid_until,
    )


def _draft_validation(
    own: Home,
    run: str,
    release: str,
    *,
    epsilon: float | None,
    only: list[str],
    of_training: object,
    valid_until: date,
) -> Plan:
    from server.federation.validation import draft_validation

    if of_training:
        raise PlanError(
            "settings-of-release",
            f"a plan that measures a release takes its settings from there, not {of_training}",
            hint="leave them out; --epsilon says what a table costs, --only which sites are asked",
        )
    return draft_validation(
        own,
        release,
        run=run,
        only=only,
        epsilon=epsilon,
        now=datetime.now(UTC),
        valid_until=valid_until,
    )


@runs_app.command()
@command
@when_stopped(_GOES_ON)
def launch(run: Run, site: Sites = None, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Train an approved plan to its last round, and make the release."""
    _train(run, site, home, as_json=as_json)


@runs_app.command()
@command
@when_stopped(_GOES_ON)
def resume(run: Run, site: Sites = None, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Go on with a run from its last committed round."""
    _train(run, site, home, as_json=as_json)


@runs_app.command()
@command
def pause(run: Run, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Stop a run that is played before its next round; `resume` goes on."""
    from server.federation.folder import Home
    from server.run.folder import open_run
    from server.run.holder import require_played

    store = open_run(Home(home).planned_run(run))
    require_played(store)
    store.pause()
    facts: dict[str, object] = {"run": run, "stops": "before its next round"}
    show_json(facts) if as_json else show_facts("paused", facts)


@runs_app.command()
@command
def stop(
    run: Run,
    reason: Annotated[str, typer.Option(help="One line; it is kept, and `status` shows it.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Close a run for good, by a signed record that is not taken back; no release is made of it.

    Whoever plays it asks no site any more, and waits for none.
    """
    from server.federation.folder import Home
    from server.run.folder import open_run
    from server.run.stopped import stop_run

    own = Home(home)
    made = stop_run(open_run(own.planned_run(run)), reason=reason, key=own.key(), now=datetime.now(UTC))
    facts: dict[str, object] = {"run": run, **made.model_dump(mode="json", exclude={"version"})}
    show_json(facts) if as_json else show_facts("stopped", facts)


@runs_app.command()
@command
def status(run: Run, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show how far a run is, and what went wrong at which site, as codes."""
    from server.federation.folder import Home
    from server.report.kept import kept_by_rule, write_kept
    from server.run.advice import awaited, away
    from server.run.events import PROGRESS
    from server.run.folder import open_run
    from server.run.holder import holder_of
    from server.run.stopped import stop_of

    own = Home(home)
    store = open_run(own.planned_run(run))
    say_what_ends(own)
    stopped = stop_of(store)
    troubles = [event for event in store.events() if event.code not in PROGRESS]
    committed = "none: it only measures"
    if store.plan.trained is not None:
        last, rounds = store.training.last_committed().round, store.training.stage.rounds
        committed = f"{last} of {rounds}"
    facts: dict[str, object] = {
        "run": run,
        "plan": store.plan.sha256,
        "committed rounds": committed,
        "played by": holder_of(store, "stage") or "nobody",
        "waits for": ", ".join(awaited(store)) or "nobody",
        "of these away": ", ".join(away(store)) or "nobody",
        "stopped": f"{stopped.stopped_utc:%Y-%m-%d}: {stopped.reason}" if stopped else "no",
        "release": "made" if (store.release_folder / "release.json").exists() else "not yet",
        "locked": "yes" if store.lock_file.exists() else "no",
    }
    if as_json:
        events = [[event.round, event.site, event.code] for event in troubles]
        show_json(facts | {"events": events, "kept": kept_by_rule(store)})
        return
    show_facts("", facts)
    if kept := kept_by_rule(store):
        title = "kept by the robust rule, of an equal share"
        show_table(title, ("site", "kept"), [(site, write_kept(each)) for site, each in kept.items()])
    if troubles:
        rows = [(event.round, event.site, event.code) for event in troubles]
        show_table("events", ("round", "site", "code"), rows)


@runs_app.command()
@command
def release(run: Run, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
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


def site_folders(paths: list[Path]) -> dict[str, Path]:
    """Site folders on this machine by the name in their ``site.yaml``.

    Raises:
        RunError: a folder is not a site's.
    """
    from shared.machine.yaml_file import YamlMistakesError, load_yaml

    found, wrong = {}, []
    for path in paths:
        try:
            content = load_yaml(path / "site.yaml")
        except YamlMistakesError as error:
            wrong.append(f"  {path}/site.yaml: {str(error).strip()}")
            continue
        if not isinstance(content, dict) or not isinstance(content.get("site"), str):
            wrong.append(f"  {path}/site.yaml: it names no site")
        elif content["site"] in found:
            wrong.append(f"  {path}/site.yaml: a second folder of site {content['site']}")
        else:
            found[content["site"]] = path.resolve()
    if wrong:
        raise RunError(
            "no-site",
            "folders given with --site must be sites:\n" + "\n".join(wrong),
            hint="name folders that `osteofed-site init` made",
        )
    return found


def _train(run: str, site: list[Path] | None, home: Path, *, as_json: bool) -> None:
    from server.engines.launch import launch_stage
    from server.federation.folder import Home
    from server.run.prepare import prepare
    from server.run.release import make_release

    own = Home(home)
    store = prepare(own, run)
    training = store.training
    say(f"run {run}: {training.last_committed().round} rounds committed")
    launch_stage(store, training.stage.name, site_folders=site_folders(site or []))
    made = make_release(store, own.key())
    facts: dict[str, object] = {
        "rounds": training.last_committed().round,
        "release": made.sha256,
        "folder": str(store.release_folder),
    }
    show_json(facts) if as_json else show_facts(f"run {run} is finished", facts)
