"""A federation deployed for real on this machine: one process per party, TLS, SQLite, node keys.

Small synthetic hospitals, the same code as the demo up to the launch; then a SuperLink, a SuperNode and
an executor per site, a few rounds, and everything is taken down again. Imports demo and engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from server.demo.play import (
    RUN,
    compose_generated,
    found_federation,
    fresh_folders,
    generate,
    ingest_all,
    write_approved_plan,
)
from server.engines.loopback import StageResult, deploy_loopback
from server.report.answers import MEASURED, answers_to
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.run.release import make_release
from server.synthetic.hospitals import DEMO_SITES, Defects, SyntheticSite

PATIENTS = {"aster": 90, "birch": 110, "cedar": 130, "dune": 60}
ROUNDS = 3
_SEED = 7


def small_sites() -> tuple[SyntheticSite, ...]:
    """The demo's hospitals with few patients and the most common defects."""
    defects = Defects(truncated_films=1, burned_in=1, films_without_row=1, duplicate_rows=1)
    return tuple(replace(site, n_patients=PATIENTS[site.name], defects=defects) for site in DEMO_SITES)


def prepare_federation(
    folder: Path, overrides: Sequence[str], *, sites: Sequence[SyntheticSite], seed: int = _SEED
) -> tuple[RunStore, dict[str, Path]]:
    """A small federation up to the approved plan: its prepared run, and site folders by name."""
    settings = compose_generated(overrides)
    folders = fresh_folders(folder)
    generate(folders, sites, seed=seed)
    home = found_federation(folders, sites, settings)
    ingest_all(folders, sites, settings)
    write_approved_plan(folders, home, sites, settings)
    return prepare(home, RUN), {site.name: folders.site(site.name).resolve() for site in sites}


def play_loopback(folder: Path, *, overrides: Sequence[str]) -> dict[str, object]:
    """Deploy, train, validate internally and externally, take down; what was seen, as facts.

    Raises:
        EngineError: a process did not start or ended by itself; its log is named.
        OsteoFedError: what stopped a stage, under its own code.
    """
    by_gradients = compose_generated(overrides).learner.kind == "gradient"
    few = [f"federation.rounds={ROUNDS}"] if by_gradients else []  # others have sums of their own
    defaults = [*few, "federation.poll_s=0.05"]
    given = {override.partition("=")[0] for override in overrides}
    chosen = [text for text in defaults if text.partition("=")[0] not in given]
    store, site_folders = prepare_federation(
        folder, ["engine=deployed", *chosen, *overrides], sites=small_sites()
    )

    trained = store.training.stage.name

    def release_when_trained(stage: str) -> None:
        if stage == trained:
            from server.federation.folder import Home

            make_release(store, Home(store.home).key())

    stages = deploy_loopback(
        store.home,
        store.folder,
        site_folders,
        (trained, *_measured_now(store)),
        after_stage=release_when_trained,
    )
    return _facts(store, stages)


def _measured_now(store: RunStore) -> list[str]:
    """Stages that measure the release on patients who are there before a lock."""
    return [stage.name for stage in store.plan.measured_now]


def _facts(store: RunStore, stages: Sequence[StageResult]) -> dict[str, object]:
    answered = {
        name: sum(answer.status == MEASURED for answer in answers_to(store, store.plan.stage(name)))
        for name in _measured_now(store)
    }
    missing = [event for event in store.events() if event.site]
    return {
        "committed rounds": store.training.last_committed().round,
        **{f"seconds, {stage.stage}": round(stage.seconds, 1) for stage in stages},
        **{f"measured sites, {name}": n for name, n in answered.items()},
        "missing updates": len(missing),
        "release": str(store.release_folder),
    }
