"""Commands that use a release here: read one exam, measure it on this hospital's own patients, train it
further for them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import By, CoordinatorKey, Folder, Yes, require_yes
from client.reading.map_kinds import MapKind
from shared.errors import IntakeError, PlanError
from shared.machine.terminal import JsonOption, command, show_facts, show_json, show_table

if TYPE_CHECKING:
    from client.site.folder import Site
    from shared.contract.plan import Plan
    from shared.contract.release import Release
    from shared.contract.validation_summary import ValidationSummary

reading_app = typer.Typer()


@reading_app.command()
@command
def predict(
    release: Annotated[Path, typer.Argument(help="A release's folder.", exists=True, file_okay=False)],
    films: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Films of one exam; none where the release reads no films.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    value: Annotated[
        list[str] | None, typer.Option("--value", "-v", help="A clinical value, name=value.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="A table of patients instead of one exam: CSV, Parquet or FHIR; of a release that "
            "reads no films.",
            exists=True,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="With --table: CSV file to write.")] = Path("scores.csv"),
    boxes: Annotated[
        Path | None,
        typer.Option(help="CSV of boxes on the films, where the release reads crops.", exists=True),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks of the films, likewise.", file_okay=False)
    ] = None,
    map_kind: Annotated[
        MapKind,
        typer.Option(
            "--map",
            help="Where the model looked: what hiding a place changes; where the encoder's last map "
            "speaks for the endpoint; or a linear fit over hidden cells, with its stability.",
        ),
    ] = "occlusion",
    heat_map: Annotated[
        Path | None, typer.Option(help="PNG file to write; by default one in the site's readings/.")
    ] = None,
    is_local: Annotated[
        bool,
        typer.Option("--local", help="With the weights that `personalise` made of the release here."),
    ] = False,
    coordinator: CoordinatorKey = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Read one exam or a table of patients with a release; nothing leaves. Not a medical device."""
    from client.reading.predict import draw_heat_maps
    from client.reading.predict import predict as read_exam
    from client.site.folder import open_site
    from shared.contract.release import read_release
    from shared.contract.validation_summary import read_summary

    site = open_site(folder)
    pairs = [item.partition("=") for item in value or []]
    key = site.release_key(coordinator)
    read = read_release(release, coordinator_key=key)
    summary = read_summary(release, read.sha256, coordinator_key=key)
    if is_local:  # which nobody but this hospital has measured
        read, summary = _with_local_weights(site, read), None
    if table is not None:
        _score(read, site, table, out, summary, is_alone=not (films or value), as_json=as_json)
        return
    values = {name: text for name, _, text in pairs}
    reading = read_exam(
        read,
        films or [],
        values,
        profile=site.settings.profile,
        boxes=boxes,
        masks=masks,
        map_kind=map_kind,
    )
    drawn = draw_heat_maps(site, reading, heat_map)
    if as_json:
        figures = {"value": reading.value, "unit": reading.unit, "t_score": reading.t_score}
        show_json(
            figures
            | {"probability_of": reading.probability_of}
            | {"probabilities": reading.probabilities, "likeliest": reading.likeliest}
            | {"field_attention": dict(reading.field_attention)}
            | {"map": reading.maps.kind, "map_notes": reading.maps.notes}
            | {"class": reading.class_name, "rule": reading.rule, "heat_map": drawn and str(drawn)}
            | {"validation": summary.model_dump(mode="json")["rows"] if summary else []}
        )
        return
    show_facts("reading, not a diagnosis", reading.facts())
    if reading.field_attention:
        shares = {name: f"{share:.0%}" for name, share in reading.field_attention.items()}
        show_facts("the films attend to", shares)
    if summary and summary.rows:
        show_facts("validation of this release", summary.facts())
    if reading.maps.notes:
        notes = {f"film {place}": note for place, note in enumerate(reading.maps.notes, start=1)}
        show_facts(f"maps by {reading.maps.kind}", notes)
    if drawn:
        show_facts("", {"heat map, for this hospital only": drawn})


def _with_local_weights(site: Site, release: Release) -> Release:
    from client.answers.local import local_weights

    return replace(release, weights=local_weights(site, release))


def _score(
    release: Release,
    site: Site,
    table: Path,
    out: Path,
    summary: ValidationSummary | None,
    *,
    is_alone: bool,
    as_json: bool,
) -> None:
    from client.reading.score_table import score_table

    if not is_alone:
        raise IntakeError(
            "table-or-exam",
            "--table stands for all patients of a file; films and --value for one exam",
            hint="give one of the two",
        )
    scored = score_table(release, table, site.settings.profile, today=site.clock().date())
    scored.write(out)
    facts: dict[str, object] = {
        "rows": len(scored.rows),
        "with a score": scored.n_scored,
        "rule": release.record.decision.in_words(),
        "file, for this hospital only": str(out),
    }
    if as_json:
        rows = summary.model_dump(mode="json")["rows"] if summary else []
        show_json(facts | {"validation": rows})
        return
    show_facts("readings, no diagnoses", facts)
    if summary and summary.rows:
        show_facts("validation of this release", summary.facts())


@reading_app.command()
@command
def validate(
    release: Annotated[Path, typer.Argument(help="A release's folder.", exists=True, file_okay=False)],
    by: By,
    epsilon: Annotated[
        float | None,
        typer.Option(help="What it costs a patient; by default as in the release's plan.", min=0.01),
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write, for the coordinator.")] = Path(
        "external.json"
    ),
    coordinator: CoordinatorKey = None,
    yes: Yes = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Measure a release on all labelled patients here, with no connection: one noised, signed file."""
    from client.answers.offline import measure_offline, plan_offline
    from client.site.folder import open_site
    from shared.contract.release import read_release

    site = open_site(folder)
    read = read_release(release, coordinator_key=site.release_key(coordinator))
    planned = plan_offline(site, read, epsilon=epsilon)
    price = planned.plan.predicted.validation_epsilon
    facts: dict[str, object] = {
        "release": f"{read.sha256} of run {read.record.run}",
        "epsilon of each patient": f"{price:.3f} at delta {planned.plan.settings.delta:g}",
        "leaves": "one noised table of the whole cohort, signed, in a file",
    }
    if not as_json:
        show_facts("", facts)
    require_yes(f"Does {by} approve that this release is measured here?", is_given=yes)
    measure_offline(site, planned, by=by, out=out)
    facts |= {"file": str(out), "key, to tell over another channel": site.key.public_hex}
    show_json(facts) if as_json else show_facts("written", facts)


@reading_app.command()
@command
def personalise(
    release: Annotated[Path, typer.Argument(help="A release's folder.", exists=True, file_okay=False)],
    by: By,
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="What the training costs a patient; by default what the release cost.", min=0.01
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write, for the coordinator.")] = Path("local.json"),
    coordinator: CoordinatorKey = None,
    yes: Yes = False,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Train a release further on this hospital's patients: weights stay, a noised comparison leaves."""
    from client.answers.local import plan_local, train_local
    from client.site.folder import open_site
    from shared.contract.release import read_release
    from shared.privacy.stage_text import GROUP_COLUMNS, STAGE_COLUMNS, group_rows, stage_rows
    from shared.stages.local_plan import comparison_facts

    site = open_site(folder)
    read = read_release(release, coordinator_key=site.release_key(coordinator))
    planned = plan_local(site, read, epsilon=epsilon)
    _require_budget(site, planned.plan)
    facts: dict[str, object] = {
        "release": f"{read.sha256} of run {read.record.run}",
        "delta": f"{planned.plan.settings.delta:g}",
        "stays": "the trained weights, in this site's folder",
        "leaves": "one noised comparison on internal patients, signed, in a file",
    }
    if not as_json:
        show_facts("", facts)
        show_table("stages", STAGE_COLUMNS, stage_rows(planned.plan))
        show_table("what a patient pays", GROUP_COLUMNS, group_rows(planned.plan))
    require_yes(f"Does {by} approve that this release is trained further here?", is_given=yes)
    made = train_local(site, planned, by=by, out=out)
    facts |= comparison_facts(made.plan, made.reply.total)
    facts |= {"file": str(out), "key, to tell over another channel": site.key.public_hex}
    show_json(facts) if as_json else show_facts("written", facts)


def _require_budget(site: Site, plan: Plan) -> None:
    """Refuse to begin what the comparison's patients could not pay for after the training was charged.

    Raises:
        PlanError: somebody's budget, or the number of patients, does not allow it all.
    """
    from client.cohort.versions import current_cohort
    from client.rehearsal.price import find_shortages, price_plan

    prices = price_plan(site, plan, current_cohort(site, plan.settings.cohort.name))
    shortages = find_shortages(site.policy, prices)
    if shortages:
        raise PlanError(
            "would-be-refused",
            "what this plan asks would be refused here:\n" + "\n".join(shortages),
            hint="take in more patients, ask for less with --epsilon, or change policy.yaml "
            "deliberately",
        )
