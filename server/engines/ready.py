"""Whether the sites on this machine can play a stage, asked before anything is started for it.

A site that is missing or has not approved is named at once; a round would wait for it first. Imports
the sites' folders: engines of this machine hold both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from client.site.folder import open_site
from server.rounds.enough import needed_in, required_in
from server.run.amendments import required_sites
from server.run.folder import RunStore
from shared.contract.stages import Stage, TrainingStage
from shared.errors import EngineError


def require_ready(store: RunStore, stage: Stage, site_folders: Mapping[str, Path]) -> None:
    """Refuse a stage that cannot be played with these sites.

    Args:
        store: a prepared run.
        stage: one of its plan's stages.
        site_folders: folder by site name.

    Raises:
        EngineError: with every site that is missing, not on the roster, or has not approved the plan.
        IntakeError: a folder is not a site's.
    """
    problems = [*_missing(store, stage, site_folders), *_unapproved(store, stage, site_folders)]
    if problems:
        raise EngineError(
            "sites-not-ready",
            f"stage {stage.name} cannot be played:\n" + "\n".join(problems),
            hint="name a folder for every site with --site; each approves with `osteofed-site approve`",
        )


def _missing(store: RunStore, stage: Stage, site_folders: Mapping[str, Path]) -> Iterator[str]:
    plan = store.plan
    on_roster = {entry.site for entry in plan.roster}
    for site in sorted(set(site_folders) - on_roster):
        yield f"  {site}: is not on the roster {sorted(on_roster)}"
    required = required_sites(store, stage)
    if isinstance(stage, TrainingStage):
        required = required_in(store, stage, store.stage(stage.name).last_committed().round + 1)
        there = [entry for entry in plan.asked(stage) if entry.site in site_folders]
        if len(there) < needed_in(store, stage):  # nobody is named for a quorum, so all who could help
            required = required_sites(store, stage)
    for site in required:
        if site not in site_folders:
            yield f"  {site}: is required, and its folder was not named"


def _unapproved(store: RunStore, stage: Stage, site_folders: Mapping[str, Path]) -> Iterator[str]:
    for entry in store.plan.asked(stage):
        if entry.site not in site_folders:
            continue
        decision = open_site(site_folders[entry.site]).approvals.decision(store.plan.sha256)
        if decision != "approved":
            said = "has refused" if decision == "refused" else "has not approved"
            yield f"  {entry.site}: {said} plan {store.plan.sha256[:12]} of run {store.plan.run}"
