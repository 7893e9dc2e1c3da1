"""Whether a stage is complete: a signed result of each required site in its last round.

In an earlier round of a training a site that gave none is a missing update. A refusal is no result. A
site that a person has dropped by a signed amendment is required no more. Imports the run store.
"""

from __future__ import annotations

from server.run.advice import how_far, next_step
from server.run.amendments import required_sites
from server.run.folder import RunStore
from shared.contract.stages import Stage, TrainingStage
from shared.errors import RunError

NO_ANSWER, INCOMPLETE = "run.no-answer", "run.incomplete-stage"


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
        RunError: rounds are left, or required sites gave no result, each with its code.
    """
    done = store.stage(stage.name).last_committed().round if isinstance(stage, TrainingStage) else None
    if done is not None and done < stage.rounds:
        raise RunError(
            "not-finished",
            f"run {store.plan.run} has committed {done} rounds of {stage.rounds}",
            hint=how_far(store),
        )
    absent = lacking(store, stage)
    if absent:
        raise RunError(
            "incomplete-stage",
            f"{stage.name} lacks a result of required sites: {write_codes(absent)}",
            hint=next_step(store, stage, absent),
        )


def write_codes(codes: dict[str, str]) -> str:
    """Sites and their codes in words."""
    return ", ".join(f"{site} ({code})" for site, code in codes.items())
