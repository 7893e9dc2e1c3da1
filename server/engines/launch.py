"""Starts a stage of a run on the engine that its plan names; imports an engine where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.federation.folder import Home
from server.run.folder import RunStore, open_run, prepare_run
from shared.contract.plan import read_plan
from shared.contract.settings import EncoderSettings
from shared.errors import EngineError, RunError
from shared.machine.files import PROJECT
from shared.signing.canonical import hash_file

CONFIG_WEIGHTS = PROJECT / "configs" / "encoder"
STAGES = ("train", "internal", "external", "prospective", "description")


def prepare(home: Home, run: str) -> RunStore:
    """A run's store, its folder laid out on first use from the signed plan.

    Raises:
        RunError: there is no such run, or its encoder file is not the plan's.
    """
    from shared.model.build import build_model
    from shared.model.weights import flatten_weights

    folder = home.planned_run(run)
    if (folder / "run.json").exists():
        return open_run(folder)
    plan = read_plan(folder / "plan.json", coordinator_key=home.key().public_hex)
    file = encoder_file(plan.settings.encoder)
    model = build_model(plan.settings, plan.settings.seed, file)
    return prepare_run(folder, initial_weights=flatten_weights(model), encoder=file)


def encoder_file(encoder: EncoderSettings) -> Path | None:
    """The coordinator's file of an encoder; None where there is none, or it starts from the seed.

    Raises:
        RunError: the file is missing or has another hash.
    """
    if encoder.name == "none" or encoder.weights is None:
        return None
    path = CONFIG_WEIGHTS / encoder.weights  # an absolute path stays what it is
    if not path.exists() or hash_file(path) != encoder.sha256:
        raise RunError(
            "wrong-encoder",
            f"{path.name} is missing or is not the file that the plan names",
            hint="`make pretrain` remakes the default; else set encoder.weights and its sha256",
        )
    return path


def launch_stage(store: RunStore, stage: str, *, site_folders: Mapping[str, Path]) -> None:
    """Play one stage to its end, or raise what stopped it.

    Args:
        store: a prepared run.
        stage: one of ``STAGES``.
        site_folders: folders of sites on this machine, for the engines local and ray.

    Raises:
        RunError: stopped; resumable.
        EngineError: the engine could not run.
    """
    engine = store.plan.settings.engine.name
    if engine != "deployed" and not site_folders:
        raise EngineError(
            "no-sites",
            f"engine {engine} needs the site folders on this machine",
            hint="add --site FOLDER for each, or plan with engine=deployed",
        )
    if engine == "local":
        from server.engines.local import run_local

        run_local(store.folder, site_folders, stage=stage)
    elif engine == "ray":
        from server.engines.ray import run_ray

        run_ray(store.folder, site_folders, stage=stage)
    else:
        from server.demo.deployment import submit_stage

        submit_stage(store, stage)
