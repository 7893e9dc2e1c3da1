"""Lays out a run's folder on first use: the signed plan's initial weights and encoders, checked.

Imports the model, to draw the initial weights from the plan's seed, where it is needed.
"""

from __future__ import annotations

from pathlib import Path

from server.encoders.file import encoder_file, encoder_files
from server.federation.folder import Home
from server.run.folder import RunStore, open_run, prepare_run
from server.run.release import held_release
from server.run.room import told_if_full
from shared.contract.plan import Plan, read_plan
from shared.contract.release import copy_release


def prepare(home: Home, run: str) -> RunStore:
    """A run's store, its folder laid out on first use from the signed plan.

    Of a validation plan, the release that it measures is copied from its own run.

    Raises:
        RunError: there is no such run, an encoder file is not the plan's, or the disk is full.
        WeightsError: the release that a validation plan measures is not there any more.
    """
    folder = home.planned_run(run)
    if (folder / "run.json").exists():
        return open_run(folder)
    plan = read_plan(folder / "plan.json", coordinator_key=home.key().public_hex)
    with told_if_full(RunStore(folder, plan), 0, number=1):
        return _lay_out(home, folder, plan)


def _lay_out(home: Home, folder: Path, plan: Plan) -> RunStore:
    from shared.stages.kinds import sum_of

    if plan.release is not None:
        copy_release(home.planned_run(plan.release.run) / "release", folder / "release")
        release = held_release(RunStore(folder, plan))
        return prepare_run(folder, initial_state=None, encoders=release.encoders.values())
    file = encoder_file(plan.settings.encoder)
    first = [] if plan.trained is None else [sum_of(plan, plan.trained, encoder_file=file).start()]
    initial = first[0].vector if first else None
    return prepare_run(folder, initial_state=initial, encoders=encoder_files(plan.settings))
