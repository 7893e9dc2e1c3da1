"""Starts a stage of a run on the engine that its plan names; imports an engine where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.engines.ready import require_ready
from server.engines.telling import told_events
from server.run.folder import RunStore
from server.run.holder import held, require_free
from server.run.room import told_if_full
from server.run.stopped import require_not_stopped
from shared.errors import EngineError


def launch_stage(store: RunStore, stage: str, *, site_folders: Mapping[str, Path]) -> None:
    """Play one stage to its end, or raise what stopped it.

    Args:
        store: a prepared run.
        stage: name of one of the plan's stages.
        site_folders: folders of sites on this machine, for the engines local and ray.

    Raises:
        PlanError: the plan has no such stage.
        OsteoFedError: what stopped it, under its own code; a RunError is resumable. A run that is being
            played is refused before anything starts, and who plays it is named; so is one that was
            stopped for good.
        EngineError: the engine could not run, or a site of this machine is missing or has not approved.
    """
    asked = store.plan.stage(stage)  # before anything is started for it
    require_not_stopped(store)
    engine = store.plan.settings.engine.name
    if engine != "deployed" and not site_folders:
        raise EngineError(
            "no-sites",
            f"engine {engine} needs the site folders on this machine",
            hint="add --site FOLDER for each, or plan with engine=deployed",
        )
    number = _next_round(store)
    with (
        told_if_full(store, 0, number=number),  # it may be full before anything is begun
        held(store, "command", what=f"a command that plays {stage}"),
    ):
        require_free(store, "stage")  # a ServerApp plays on when Ctrl-C ended its command
        store.forget_pause()  # of one who has ended before obeying
        if engine != "deployed":
            require_ready(store, asked, site_folders)
        with told_events(store, asked), told_if_full(store, 0, number=number):
            _play(engine, store, stage, site_folders)


def _next_round(store: RunStore) -> int:
    return 1 if store.plan.trained is None else store.training.last_committed().round + 1


def _play(engine: str, store: RunStore, stage: str, site_folders: Mapping[str, Path]) -> None:
    if engine == "local":
        from server.engines.local import run_local

        run_local(store.folder, site_folders, stage=stage)
    elif engine == "ray":
        from server.engines.ray import run_ray

        run_ray(store.folder, site_folders, stage=stage)
    else:
        from server.engines.superlink import submit_stage

        submit_stage(store, stage)
