"""Commands that try and touch nothing: ``doctor`` and ``rehearse``. Import what they need when run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.command.options import Folder
from shared.machine.terminal import (
    JsonOption,
    command,
    say,
    show_facts,
    show_json,
    show_lines,
    show_table,
)

if TYPE_CHECKING:
    from client.rehearsal.rehearse import Rehearsal
    from client.rehearsal.round import RoundMeasure

trial_app = typer.Typer()


@trial_app.command()
@command
def doctor(
    superlink: Annotated[
        str, typer.Option(envvar="OSTEOFED_SUPERLINK", help="host:port of the coordinator's server.")
    ] = "",
    root_certificate: Annotated[
        Path | None,
        typer.Option(envvar="OSTEOFED_ROOT_CERTIFICATE", help="The federation's CA, a PEM file."),
    ] = None,
    health: Annotated[
        str, typer.Option(envvar="OSTEOFED_HEALTH", help="host:port of the SuperNode's gRPC health.")
    ] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="For a health check: no torch, no decoders.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="machine, site or connection; repeatable.")
    ] = None,
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say whether this site can take part, and the remedy where not; changes nothing."""
    from client.doctor.connection import Coordinator
    from client.doctor.examine import AREAS, examine
    from shared.machine.line import is_well, lines_as_json

    unknown = set(only or ()) - set(AREAS)
    if unknown:
        raise typer.BadParameter(f"must be one of {', '.join(AREAS)}", param_hint="--only")
    lines = examine(
        folder,
        Coordinator(superlink=superlink, root_certificate=root_certificate, health=health),
        is_quick=quick,
        areas=[area for area in AREAS if not only or area in only],
    )
    show_json(lines_as_json(lines)) if as_json else show_lines("doctor", lines)
    if not is_well(lines):
        raise typer.Exit(1)


@trial_app.command()
@command
def rehearse(
    plan: Annotated[Path, typer.Argument(help="The coordinator's plan.json, approved or not.")],
    folder: Folder = Path(),
    as_json: JsonOption = False,
) -> None:
    """Try a plan here without network: its price, time and memory, and whether it learns.

    Exit code 1 when the plan would not run here.
    """
    from client.rehearsal.rehearse import rehearse as try_plan
    from client.site.folder import open_site
    from shared.contract.plan import read_plan

    site = open_site(folder)
    read = read_plan(plan, coordinator_key=site.coordinator_key)
    rehearsal = try_plan(site, read)
    if as_json:
        show_json({"run": read.run, "plan": read.sha256} | asdict(rehearsal))
    else:
        _show_rehearsal(rehearsal, run=read.run, delta=site.policy.delta)
    if rehearsal.problems:
        raise typer.Exit(1)


def _show_rehearsal(rehearsal: Rehearsal, *, run: str, delta: float) -> None:
    is_bounded = any(price.run_epsilon is not None for price in rehearsal.prices)
    show_table(
        f"run {run}: epsilon of the dearest patient (unit: patient, add/remove, delta {delta:g})"
        if is_bounded or not rehearsal.prices
        else f"run {run}: no formal privacy guarantee",
        ("for", "patients", "of the run", "spent before", "spent then", "left for life"),
        [
            (
                *(price.purpose, price.n_patients, price.run_epsilon),
                *(price.spent_before, price.spent_after, price.left_after),
            )
            for price in rehearsal.prices
        ],
    )
    measured, trial = rehearsal.measured, rehearsal.trial
    if measured and trial:
        gpu = f", {measured.gpu_bytes / 2**20:.0f} MiB on the GPU" if measured.gpu_bytes else ""
        facts: dict[str, object] = {
            "one round": f"{measured.seconds:.1f} s, {measured.memory_bytes / 2**20:.0f} MiB{gpu}",
            "all rounds": f"{measured.seconds * trial.planned_rounds:.0f} s",
            "encoding films, once": _describe_encoding(measured),
            "loss on invented people": f"{trial.loss_before:.3f}, after {trial.rounds} of "
            f"{trial.planned_rounds} rounds {trial.loss_after:.3f}: "
            + ("falls" if trial.falls else "does not fall for this site alone"),
        }
        show_facts("training here", facts)
    if rehearsal.problems:
        show_table("why it would not run", ("problem",), [(each,) for each in rehearsal.problems])
    say("nothing was charged and nothing has left")


def _describe_encoding(measured: RoundMeasure) -> str:
    if measured.encoding == "needed":
        return f"{measured.encoding_s:.0f} s, before the first round"
    if measured.encoding == "unknown":
        return "unknown: the encoder is not here, the coordinator sends it after approval"
    return measured.encoding
