"""Plays a sweep arm after arm; each is an ordinary run, so that a sweep goes on where it stopped.

Whether every site of this machine has approved every arm is asked before the first one begins. Imports
the engines' launch and the run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.engines.launch import launch_stage
from server.engines.ready import require_ready
from server.federation.folder import Home
from server.federation.sweep import lay_out, planned_sweep
from server.run.complete import lacking
from server.run.folder import RunStore, open_run
from server.run.prepare import prepare
from server.run.release import make_release
from shared.contract.stages import Stage, TrainingStage
from shared.contract.sweep import SignedSweep
from shared.errors import RunError
from shared.machine.terminal import say


def play_sweep(home: Home, name: str, *, site_folders: Mapping[str, Path]) -> tuple[RunStore, ...]:
    """Train, release and measure every arm that is not done yet; the runs of all arms, in order.

    Args:
        home: the coordinator's folder.
        name: of a planned sweep.
        site_folders: folders of sites on this machine, for the engines local and ray.

    Raises:
        PlanError: there is no such sweep, or it is damaged.
        EngineError: a site of this machine is missing or has not approved an arm; nothing was begun.
        OsteoFedError: what stopped an arm; the same call goes on with it.
    """
    signed = planned_sweep(home, name)
    lay_out(home, signed)
    stores = [prepare(home, arm.run) for arm in signed.sweep.arms]
    waiting = [store for store in stores if not is_played(store)]
    # every arm is asked about before the first one is paid for
    for store in waiting:
        if site_folders and store.plan.settings.engine.name != "deployed":
            for stage in _asked_now(store):
                require_ready(store, stage, site_folders)
    say(f"sweep {name}: {len(stores) - len(waiting)} of {len(stores)} arms were played before")
    for store in waiting:
        say(f"arm {store.plan.run}")
        _play_arm(store, home, site_folders)
    return tuple(stores)


def finished_runs(home: Home, signed: SignedSweep) -> tuple[RunStore, ...]:
    """The runs of all arms, in order.

    Raises:
        RunError: an arm is not done.
    """
    folders = {arm.name: home.run_folder(arm.run) for arm in signed.sweep.arms}
    begun = {name: open_run(path) for name, path in folders.items() if (path / "run.json").exists()}
    waiting = [name for name in folders if name not in begun or not is_played(begun[name])]
    if waiting:
        raise RunError(
            "sweep-not-finished",
            f"arms {waiting} of sweep {signed.sweep.name} are not done",
            hint="`osteofed-coordinator sweep launch` goes on with them",
        )
    return tuple(begun.values())


def is_played(store: RunStore) -> bool:
    """Whether an arm has its release, and a result of every required site that measures it."""
    if not (store.release_folder / "release.json").exists():
        return False
    return all(
        not lacking(store, stage) for stage in _asked_now(store) if not isinstance(stage, TrainingStage)
    )


def _asked_now(store: RunStore) -> list[Stage]:
    """The stages that somebody is asked for, and that wait for no lock."""
    plan = store.plan
    return [stage for stage in plan.stages if plan.asked(stage) and stage.patients != "accrued"]


def _play_arm(store: RunStore, home: Home, site_folders: Mapping[str, Path]) -> None:
    launch_stage(store, store.training.stage.name, site_folders=site_folders)
    make_release(store, home.key())
    for stage in _asked_now(store):
        if not isinstance(stage, TrainingStage):
            launch_stage(store, stage.name, site_folders=site_folders)
