"""``make experiments``: measures what has no line yet, then writes data, page and plots.

Imports harness, outcomes and their page.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from server.experiments.beside_clean import with_clean
from server.experiments.deployed import (
    deploy_system,
    keep_deployed,
    require_whole,
    systems_to_deploy,
)
from server.experiments.harness import Kept, Line, seeds_of
from server.experiments.outcome import Outcome, outcome_of
from server.experiments.side_by_side import measure_side_by_side
from server.experiments.system import SETTINGS, Setting, System
from server.experiments.systems import SYSTEMS
from server.experiments.systems_page import write_systems
from shared.errors import SettingsError
from shared.machine.files import PROJECT
from shared.machine.terminal import say
from shared.strict import nearest

WORK = PROJECT / "figures" / "work" / "experiments"
DEPLOYED = WORK / "deployed"


def run_experiments(
    names: Sequence[str],
    *,
    setting: str,
    n_seeds: int | None,
    processes: int = 1,
    work: Path = WORK,
    root: Path = PROJECT,
    systems: Sequence[System] = SYSTEMS,
) -> list[Path]:
    """Measure the named systems and what belongs to them, or all, and write what follows.

    Returns:
        Files that were written.

    Raises:
        SettingsError: there is no system of a name.
    """
    _require_known(names, systems)
    named = [each for each in systems if not names or each.name in names or each.beside in names]
    # clean films beside those whose marker leaks
    twins = {each.clean for each in named}
    asked = [each for each in systems if each in named or each.name in twins]
    size = SETTINGS[setting]
    seeds = seeds_of(size, n_seeds)
    measure_side_by_side(asked, size, seeds, work=work, processes=processes, progress=_tell)
    by_name = {each.name: each for each in asked}
    outcomes = [
        _outcome(system, by_name.get(system.clean), size, seeds, Kept(work)) for system in asked
    ]
    return write_systems(systems, outcomes, root=root)


def _outcome(
    system: System, clean: System | None, setting: Setting, seeds: Sequence[int], kept: Kept
) -> Outcome:
    """What a system has reached, and what the marker changes where its films have one that leaks."""
    outcome = outcome_of(system, setting, seeds, kept)
    if clean is None:
        return outcome
    return with_clean(outcome, system, clean, setting=setting, seeds=seeds, kept=kept)


def deploy_all(
    names: Sequence[str],
    *,
    work: Path = DEPLOYED,
    root: Path = PROJECT,
    systems: Sequence[System] = SYSTEMS,
) -> list[Path]:
    """Deploy the named systems, or all, one after another; each is kept as it ends, on the page too.

    Returns:
        Files that were written.

    Raises:
        SettingsError: there is no system of a name.
        RunError: a deployment's ledgers were refuted, or a table is missing; it is on the page.
        OsteoFedError: what stopped a deployment, under its own code.
    """
    _require_known(names, systems)
    written: list[Path] = []
    for system in systems_to_deploy(systems):
        if not names or system.name in names:
            found = deploy_system(system, work=work)
            keep_deployed(found, systems, root=root)
            written = write_systems(systems, (), root=root)
            require_whole(found)
    return written


def _require_known(names: Sequence[str], systems: Sequence[System]) -> None:
    known = [system.name for system in systems]
    for name in names:
        if name not in known:
            raise SettingsError(
                "unknown-system",
                f"a system must be one of {known}, not {name}{nearest(name, known)}",
                hint="server/experiments/systems.py holds their entries",
            )


def main(words: Sequence[str] | None = None) -> None:
    """From the words of a command line."""
    parser = argparse.ArgumentParser(prog="make experiments", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="repeat it")
    parser.add_argument("--setting", choices=list(SETTINGS), default="small")
    parser.add_argument("--seeds", type=int, metavar="N", help="populations; else the setting's")
    parser.add_argument("--processes", type=int, metavar="N", help="at once; else one for each core")
    parser.add_argument("--deployed", action="store_true", help="deploy each once on this machine")
    parser.add_argument("--page", action="store_true", help="write page and plots from the data only")
    given = parser.parse_args(words)
    if given.page:
        write_systems(SYSTEMS, ())
        return
    if given.deployed:
        deploy_all(given.only)
        return
    began = time.monotonic()
    processes = given.processes or len(os.sched_getaffinity(0))
    run_experiments(given.only, setting=given.setting, n_seeds=given.seeds, processes=processes)
    say(f"{(time.monotonic() - began) / 60:.0f} minutes, {processes} at once")


def _tell(line: Line) -> None:
    model = line.model
    say(f"{model.system}, population {model.seed}, {model.arm}, {model.training}: {line.seconds} s")


if __name__ == "__main__":
    main(sys.argv[1:])
