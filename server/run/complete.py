"""Whether a stage is complete: a signed result of each required site in its last round.

In an earlier round of a training a site that gave none is a missing update. A refusal is no result. A
site that a person has dropped by a signed amendment is required no more. Imports the run store.
"""

from __future__ import annotations

from server.run.amendments import dropped_sites
from server.run.folder import RunStore
from shared.contract.stages import Stage, TrainingStage
from shared.errors import RunError

NO_ANSWER = "run.no-answer"


def required_sites(store: RunStore, stage: Stage) -> tuple[str, ...]:
    """The sites without whose result a stage is not complete, in roster order."""
    dropped = dropped_sites(store)
    asked = store.plan.asked(stage)
    return tuple(entry.site for entry in asked if entry.is_required and entry.site not in dropped)


def lacking(store: RunStore, stage: Stage) -> dict[str, str]:
    """Required sites without a result in a stage's last round so far, each with its code."""
    if isinstance(stage, TrainingStage):
        last = store.stage(stage.name).last_committed()
        present, codes = {part.site for part in last.contributions}, last.missing
    else:
        results = store.results(stage.name)
        present, codes = set(results.accepted), results.rejected
    required = required_sites(store, stage)
    return {site: codes.get(site, NO_ANSWER) for site in required if site not in present}


def require_complete(store: RunStore, stage: Stage) -> None:
    """Refuse to call a stage finished that is not.

    Raises:
        RunError: with each required site that gave no result, and its code.
    """
    absent = lacking(store, stage)
    if absent:
        raise RunError(
            "incomplete-stage",
            f"{stage.name} lacks a result of required sites: {write_codes(absent)}",
            hint="settle it with these sites and run the same again, results so far are kept; or go on "
            "without one by `osteofed-coordinator drop-site RUN SITE --reason …`, which release and "
            "report will name",
        )


def write_codes(codes: dict[str, str]) -> str:
    """Sites and their codes in words."""
    return ", ".join(f"{site} ({code})" for site, code in codes.items())
